package fault

// A Code is a stable, machine-readable reason. Codes are never renamed.
type Code string

// Caller's problems: the request was refused and nothing changed.
const (
	Validation        Code = "common.validation"         // malformed or wrong input; details name each field
	Unauthenticated   Code = "agent.token_invalid"       // no credential, or one we do not know
	ScopeDenied       Code = "agent.scope_denied"        // the credential lacks a scope
	NotFound          Code = "agent.not_found"           // no such thing, or not yours
	MethodNotAllowed  Code = "common.method_not_allowed" // the route exists, the method does not
	TooLarge          Code = "common.too_large"          // body, header or document over its limit
	UnsupportedMedia  Code = "common.unsupported_media"  // content type we do not read
	Conflict          Code = "common.conflict"           // the thing exists in another form
	IdempotencyReused Code = "agent.idempotency_mismatch"
	RateLimited       Code = "agent.rate_limited"
	SessionCompleted  Code = "agent.session_completed" // step or input on an ended session
	SessionBusy       Code = "agent.session_busy"      // another worker holds the session now
	NotWaiting        Code = "agent.not_waiting"       // input for a session that asks for none
	ManifestInvalid   Code = "agent.manifest_invalid"  // details list every problem
	ManifestConflict  Code = "agent.manifest_conflict" // same name and version, other content
	ExpressionInvalid Code = "agent.expression_invalid"
)

// Outcomes: what an action or a planner met. Recorded, shown to the planner.
const (
	ActionUnknown      Code = "agent.action_unknown"
	ActionInvalid      Code = "agent.action_invalid" // arguments fail the input schema
	ActionFailed       Code = "agent.action_failed"  // the tool answered with a failure
	ActionUnsupported  Code = "agent.action_unsupported"
	OutputInvalid      Code = "agent.output_invalid" // the result fails the output schema
	PreconditionFailed Code = "agent.precondition_failed"
	PostconditionError Code = "agent.postcondition_failed"
	SecretMissing      Code = "agent.secret_missing"
	EgressBlocked      Code = "egress.blocked"
	EgressFailed       Code = "egress.failed"        // not sent, or the answer to a call that changes nothing was lost
	EffectUnknown      Code = "agent.effect_unknown" // sent, outcome not known; never sent again by itself
	Timeout            Code = "agent.timeout"
	LimitExceeded      Code = "agent.limit_exceeded" // body, ratio, output or call count over its limit
	SandboxCPU         Code = "sandbox.cpu"
	SandboxMemory      Code = "sandbox.memory"
	SandboxWall        Code = "sandbox.wall"
	SandboxOutput      Code = "sandbox.output"
	SandboxError       Code = "sandbox.error" // the code raised, with its own message
	FileNotFound       Code = "agent.file_not_found"
	FileDenied         Code = "agent.file_denied"
	PlanInvalid        Code = "agent.plan_invalid"
	PlanRefused        Code = "agent.plan_refused"   // the model refused or was filtered
	PlanTruncated      Code = "agent.plan_truncated" // the answer was cut by its length limit
	ModelFailed        Code = "agent.model_failed"   // the provider failed after retries
	ModelMisconfigured Code = "agent.model_misconfigured"
	MaxSteps           Code = "agent.max_steps"
	Skipped            Code = "agent.skipped" // an earlier call of the same plan failed
	Canceled           Code = "agent.canceled"
)

// Our problems.
const (
	Unavailable Code = "common.unavailable" // the database or another dependency is away; try again
	Internal    Code = "common.internal_error"
)
