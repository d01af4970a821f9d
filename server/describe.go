package server

import "encoding/json"

// Texts and examples of the OpenAPI document. They are for readers of the API;
// docs/http-api.md tells the same story from end to end.

const docAPI = `Sessions drive a goal to completion, one durable turn at a time.

Errors have one body on every route: see the schema Problem. ` + "`code`" + ` is stable and meant for programs; ` + "`details`" + ` point at what is wrong and say how to mend it. A 4xx changed nothing.

Bodies are read strictly: unknown names, repeated names, numbers out of range, more than 64 levels of nesting, invalid UTF-8, U+0000 and trailing data are refused. A body may have 1 MiB.`

const (
	docCreate     = "Stores a session with its goal and first observation. It moves when somebody calls /step or /run, or at once with run: true. With an Idempotency-Key, the same request returns the same session (200, Idempotency-Replayed: true), and another request with the key is refused (422)."
	docList       = "Newest first. Follow the Link header, or pass next_cursor as cursor."
	docGet        = "The session with its observation, its history and, when it waits, its questions."
	docStep       = "Asks the planner what to do, carries it out and returns the outcome. A failing action is an outcome, not an error. The members that are there tell the forms apart: result with steps_done while the session goes on; detail \"Goal achieved\" with result; detail \"Max steps reached, terminating\"; detail \"Waiting for input\" with waiting. An ended session answers 400 \"Session already completed\". When the model fails (502) the session stays as it was, and the same step may be tried again."
	docRun        = "From now on workers advance the session without further calls. With wait= the answer comes when the session waits or has ended (200) or the time is over (202)."
	docInput      = "Answers a question that the session waits for. It goes on by itself if it was run, otherwise on the next /step."
	docCancel     = "Ends the session as soon as its running turn allows. Cancelling an ended session changes nothing and is no error."
	docClose      = "Ends the session if it has not ended, seals it and returns the transcript with all side effects. Closing again returns the same transcript."
	docTranscript = "Everything that has happened so far, as a download: goal, observation, history, plans with their model messages, side effects, and the log with its hashes. format=jsonl is the log alone, one event a line, for sessions of any size."
	docVerify     = "Checks that the log follows itself without gaps, that every hash holds, and that every state and blob it names is there."
	docRegister   = "Checks and stores a manifest. The same content again is no error (200). Another content under the same name and version is refused, and so is a version step smaller than the changes need."
	docManifests  = "Newest first, without their content."
	docManifest   = "A registered manifest as canonical JSON, by version as written or by the word latest."
	docValidate   = "Checks a manifest and stores nothing. An invalid one is a finding, not an error: the answer is 200 with valid: false and every problem."
	docDiff       = "What changed between two manifests, registered or sent along, and the smallest honest version step."
)

const docEvents = `Every event of the session, from the first, any time.

**As a stream** (the default): server-sent events. ` + "`id`" + ` is the seq, ` + "`event`" + ` the type, ` + "`data`" + ` an Event. Besides:

- ` + "`caught_up`" + ` (CaughtUp), once: what follows is live;
- ` + "`progress`" + ` (SessionProgress), without id: a live sign of work that the log does not hold;
- ` + "`end`" + ` (End): the session has ended, and the stream closes;
- ` + "`problem`" + ` (Problem): the stream breaks off; reconnect with the last id;
- comments at least every 15 seconds.

A client that reconnects with Last-Event-ID (EventSource does) misses nothing and gets nothing twice.

**As a page** (Accept: application/json): the events after a seq, at most limit, waiting up to wait seconds for a first one.`

var exampleCreate = json.RawMessage(`{
  "goal": {"description": "Schedule product demo with Alice and Bob"},
  "observation": {
    "timestamp": "2026-03-28T14:00:00Z",
    "user_context": {"user_id": "U998877", "preferences": {"timezone": "America/Los_Angeles", "default_meeting_length": 45}},
    "environment": {"calendar": {"free_slots": []}, "crm": {"contact_email": "alice@example.com", "open_deals": 2}}
  },
  "max_steps": 7
}`)

var exampleState = json.RawMessage(`{
  "session_id": "01912d68-783e-7a03-8467-5661c1243ad4",
  "status": "queued",
  "completed": false,
  "run": false,
  "goal": {"description": "Schedule product demo with Alice and Bob"},
  "manifest": {"name": "MeetBot", "version": "2.0", "digest": "5b2f…"},
  "steps": 0,
  "max_steps": 7,
  "last_seq": 1,
  "usage": {"prompt_tokens": 0, "completion_tokens": 0, "cost_usd": 0},
  "created_at": "2026-03-28T14:00:01Z",
  "updated_at": "2026-03-28T14:00:01Z",
  "observation": {"timestamp": "2026-03-28T14:00:00Z", "user_context": {"user_id": "U998877"}, "environment": {"calendar": {"free_slots": []}}},
  "history": []
}`)

var exampleStep = json.RawMessage(`{
  "result": {
    "action_name": "search_free_slots",
    "success": true,
    "output": {"slots": [{"start": "2026-04-03T10:00:00-07:00", "end": "2026-04-03T10:45:00-07:00"}]},
    "error": null
  },
  "steps_done": 1
}`)

var exampleManifest = json.RawMessage(`{
  "name": "MeetBot",
  "version": "2.0",
  "actions": [{
    "type": "invoke_api",
    "name": "search_free_slots",
    "description": "Query the calendar service for free time slots for all participants.",
    "input_schema": {"type": "object", "properties": {"participants": {"type": "array", "items": {"type": "string"}}}, "required": ["participants"]},
    "endpoint": "https://api.calendar.example.com/v1/free_slots",
    "method": "POST",
    "auth": "Bearer ${CALENDAR_TOKEN}"
  }]
}`)
