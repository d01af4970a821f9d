// Package secret resolves references to secrets and keeps the values out of
// everything that leaves the process.
//
// A manifest holds references such as "Bearer ${CALENDAR_TOKEN}", never
// values. A [Resolver] turns them into values at the moment they are needed,
// and its [Redactor] remembers each value it handed out, so that a receiver
// who echoes one cannot put it into an observation, a prompt or a log.
//
// The package knows nothing of manifests, HTTP or logging.
package secret
