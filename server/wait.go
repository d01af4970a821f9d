package server

import (
	"context"
	"time"

	"github.com/oap-runtime/oap/internal/fault"
)

// enter takes one of the places for streams and waiting requests. The caller
// gives it back with release.
func (s *Server) enter() (release func(), err error) {
	if s.waiters.Add(1) > int64(s.cfg.Waiters) {
		s.waiters.Add(-1)
		return nil, fault.New(fault.RateLimited, "the server holds as many streams and waiting requests as it may").Retry(5 * time.Second)
	}
	return func() { s.waiters.Add(-1) }, nil
}

// await calls done until it reports true or fails, whenever the session moved,
// for at most the given time. It calls it at least once, and ends early when
// the server stops or the request does.
func (s *Server) await(ctx context.Context, id string, most time.Duration, done func() (bool, error)) error {
	if most == 0 {
		_, err := done()
		return err
	}
	release, err := s.enter()
	if err != nil {
		return err
	}
	defer release()
	sub := s.cfg.Manager.Watch(id) // before the first look, so that no move is missed
	defer sub.Close()
	timeout := time.NewTimer(most)
	defer timeout.Stop()
	poll := time.NewTicker(s.cfg.Poll)
	defer poll.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		for moved := false; !moved; {
			select {
			case n := <-sub.C:
				moved = n.Progress == nil
			case <-poll.C:
				moved = true
			case <-timeout.C:
				return nil
			case <-s.draining:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
}
