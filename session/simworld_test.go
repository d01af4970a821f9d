package session_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/internal/fault"
	"github.com/oap-runtime/oap/manifest"
	"github.com/oap-runtime/oap/planner"
)

// simManifest declares an action of every effect class.
const simManifest = `{
 "name": "Sim", "version": "1.0.0", "description": "Actions of the simulator.", "completion": "state.done == true",
 "actions": [
  {"type":"invoke_api","name":"look","description":"Reads.","method":"GET","endpoint":"https://api.example.com/look","input_schema":{"type":"object"},"output_schema":{}},
  {"type":"invoke_api","name":"send","description":"Sends once.","method":"POST","endpoint":"https://api.example.com/send","effect":"once","input_schema":{"type":"object"},"output_schema":{}},
  {"type":"invoke_api","name":"put","description":"Sends with a key.","method":"POST","endpoint":"https://api.example.com/put","effect":"keyed","input_schema":{"type":"object"},"output_schema":{}},
  {"type":"invoke_api","name":"set","description":"Sends again at will.","method":"PUT","endpoint":"https://api.example.com/set","effect":"idempotent","input_schema":{"type":"object"},"output_schema":{}},
  {"type":"invoke_api","name":"note","description":"Keeps a list.","method":"POST","endpoint":"https://api.example.com/note","effect":"keyed","input_schema":{"type":"object"},"output_schema":{},"postconditions":["state.notes.append(result.v)"]},
  {"type":"invoke_api","name":"finish","description":"Ends.","method":"POST","endpoint":"https://api.example.com/finish","effect":"keyed","terminal":true,"input_schema":{"type":"object"},"output_schema":{}},
  {"type":"human_intervention","name":"ask","description":"Asks.","prompt":"Which zone?","input_schema":{"type":"object"},"output_schema":{"type":"object","properties":{"v":{"type":"string"}},"required":["v"]}}
 ]}`

// plan decides at random, so that asking again never gives the same answer.
func (p *simProc) plan(ctx context.Context, r planner.Request) (planner.Decision, error) {
	s := p.sim
	what := s.nth("plan " + s.name(r.SessionID))
	if err := p.sleep(ctx, s.span(what+" takes", time.Millisecond, s.pick(what+" pace", 2*time.Second, 2*time.Second, 5*time.Second, 25*time.Second)), false); err != nil {
		return planner.Decision{}, err
	}
	usage := planner.Usage{PromptTokens: 10, CompletionTokens: 1}
	said := []planner.Exchange{{Model: "m", Messages: []planner.Message{{Role: "user", Parts: []planner.Part{{Text: "state: "}, {Text: string(r.Observation), Observation: true}}}}, Reply: what, Usage: usage}}
	switch {
	case s.fault(0.03, what+" breaks"):
		s.count("planner broke")
		return planner.Decision{}, errors.New("simulated: the planner broke")
	case s.fault(0.05, what+" fails for a while"):
		s.count("planner failed, to be tried again")
		return planner.Decision{}, &planner.Failure{Err: fault.New(fault.ModelFailed, "%s", what).Retry(0), Exchanges: said}
	case s.fault(0.03, what+" fails"):
		s.count("planner failed for good")
		return planner.Decision{}, fault.New(fault.PlanInvalid, "%s", what)
	case s.roll(what+" finishes") < float64(r.Step)*0.06:
		return planner.Decision{Finish: true, Answer: json.RawMessage(`"done"`), Exchanges: said}, nil
	}
	n, shape := 1, s.roll(what+" shape")
	switch {
	case shape < 0.1:
		n = 9 + int(s.roll(what+" many")*3) // more than run at once
	case shape < 0.5:
		n = 2 + int(s.roll(what+" few")*3)
	}
	d := planner.Decision{Reason: what, Exchanges: said}
	for i := range n {
		one := fmt.Sprintf("%s/%d", what, i)
		in := planner.Intent{Action: s.action(one), OutputKey: fmt.Sprintf("k%d", int(s.roll(one+" key")*1e9))}
		args := map[string]any{"n": one}
		if s.roll(one+" is big") < 0.1 {
			args["pad"] = strings.Repeat("x", 1500)
		}
		if s.roll(one+" reaches the goal") < 0.03 {
			args["done"] = true
		}
		if i > 0 && s.roll(one+" is chained") < 0.5 {
			before := int(s.roll(one+" to") * float64(i))
			in.After = []int{before}
			if key := d.Calls[before].OutputKey; key != "" {
				args["from"] = "{{" + key + ".v}}"
			}
		}
		if in.Action == "note" || args["done"] != nil {
			in.OutputKey = "" // its output goes elsewhere in the state
		}
		in.Args, _ = json.Marshal(args)
		d.Calls = append(d.Calls, in)
	}
	return d, nil
}

func (s *sim) action(what string) string {
	x := s.roll(what + " action")
	for _, a := range []struct {
		name  string
		share float64
	}{{"look", 0.15}, {"send", 0.25}, {"put", 0.15}, {"set", 0.1}, {"note", 0.15}, {"ask", 0.14}, {"finish", 0.03}, {"unheard_of", 0.03}} {
		if x -= a.share; x < 0 {
			return a.name
		}
	}
	return "look"
}

// execute performs a call as the world outside does it: slowly, not always, and
// not always knowing whether.
func (p *simProc) execute(ctx context.Context, c executor.Call, _ func(executor.Progress)) (executor.Result, error) {
	s := p.sim
	what, call := s.begin(c)
	if call == nil {
		return executor.Result{}, errors.New("simulated: not a call that may be made")
	}
	defer s.ended(call)
	stubborn := p.isCursed(c.SessionID) && s.roll(what+" sits it out") < 0.7 || s.roll(what+" is deaf") < 0.05
	pace := s.pick(what+" pace", 100*time.Millisecond, 2*time.Second, 10*time.Second, 40*time.Second)
	if p.isCursed(c.SessionID) {
		pace = time.Minute // longer than any lease
	}
	if err := p.sleep(ctx, s.span(what+" begins", 0, pace), stubborn); err != nil {
		return executor.Result{}, err
	}
	if s.fault(0.02, what+" kills before") {
		s.count("killed before an effect")
		p.kill()
		return executor.Result{}, errGone
	}
	if c.Action.Type == manifest.HumanIntervention {
		if c.Answer != nil {
			return executor.Result{Output: c.Answer.Value}, nil
		}
		return executor.Result{Wait: &executor.Wait{Kind: executor.WaitInput, Prompt: "Which zone?", Schema: c.Action.Output.JSON()}}, nil
	}
	patience := 0.06
	if c.Repeated {
		patience = 0.3 // it would rather find out first
	}
	switch {
	case s.fault(patience, what+" waits"):
		s.count("waited for a timer")
		return executor.Result{Wait: &executor.Wait{Kind: executor.WaitTimer, Until: time.Now().Add(s.span(what+" until", time.Second, time.Minute))}}, nil
	case s.fault(0.05, what+" fails"):
		return executor.Result{}, fault.New(fault.ActionFailed, "%s was refused", what)
	case s.fault(0.03, what+" breaks before"):
		s.count("tool broke")
		return executor.Result{}, errors.New("simulated: broken before it was sent")
	case c.Action.Effect == manifest.Once && c.Repeated:
		s.count("once refused to be repeated")
		return executor.Result{}, fault.New(fault.EffectUnknown, "it may have been sent before")
	case c.Action.Effect == manifest.Once && s.fault(0.04, what+" vanishes"):
		return executor.Result{}, fault.New(fault.EffectUnknown, "the connection broke")
	}
	out := s.apply(call, c, what)
	if s.fault(0.02, what+" kills after") {
		s.count("killed after an effect")
		p.kill()
		return executor.Result{}, errGone
	}
	if err := p.sleep(ctx, s.span(what+" answers", 0, time.Second), stubborn); err != nil {
		return executor.Result{}, err
	}
	switch {
	case s.fault(0.02, what+" breaks after"):
		return executor.Result{}, errors.New("simulated: broken after it was sent")
	case c.Action.Effect == manifest.Once && s.fault(0.05, what+" answer lost"):
		return executor.Result{}, fault.New(fault.EffectUnknown, "the answer was lost")
	}
	return executor.Result{Output: out, Usage: executor.Usage{Attempts: 1}}, nil
}

// begin checks a call against what was committed and gives this run its name.
func (s *sim) begin(c executor.Call) (string, *simCall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ss := s.sessions[c.SessionID]
	var call *simCall
	if ss != nil {
		call = ss.calls[c.ID]
	}
	if call == nil || len(call.starts) == 0 {
		s.problem("call %s was made before its intent was committed", c.ID)
		return "", nil
	}
	call.runs++
	what := fmt.Sprintf("%s run %d", call.name, call.runs)
	first := call.starts[0]
	if call.runs > len(call.starts) {
		s.problem("%s: made %d times, but only %d times with a committed intent", what, call.runs, len(call.starts))
	}
	if c.Action.Name != call.planned.Action || simHash([]byte(c.Action.Name+"\n"+string(c.Args))) != first.Digest {
		s.problem("%s: made with other arguments than committed: %s", what, c.Args)
	}
	if c.IdempotencyKey != first.Key || !c.Now.Equal(first.Now) || fmt.Sprintf("%x", c.Seed) != first.Seed {
		s.problem("%s: made with another key, clock or seed than committed", what)
	}
	if (call.applied > 0 || call.inflight > 0) && !c.Repeated {
		s.problem("%s: not told that it may have taken effect before", what)
	}
	if len(call.starts) == 1 && c.Repeated {
		s.problem("%s: told to be repeated at its first attempt", what)
	}
	if call.answer != nil && c.Answer == nil || c.Answer != nil && string(c.Answer.Value) != string(call.answer) {
		s.problem("%s: made without the answer that was given", what)
	}
	if c.Repeated {
		s.counts["call repeated"]++
	}
	if c.Action.Effect == manifest.Read || c.Action.Effect == manifest.Idempotent {
		s.counts["call of a class that may be repeated"]++
	}
	var args struct {
		N, From string
	}
	_ = json.Unmarshal(c.Args, &args)
	if args.From != "" {
		s.counts["placeholder filled"]++
		if want := ss.calls[call.planned.After[0]].value; args.From != want {
			s.problem("%s: its placeholder became %q, want %q", what, args.From, want)
		}
	}
	call.inflight++
	return what, call
}

func (s *sim) ended(call *simCall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	call.inflight--
}

// apply lets a call take effect.
func (s *sim) apply(call *simCall, c executor.Call, what string) json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	if out, done := s.receipts[c.IdempotencyKey]; done && c.Action.Effect == manifest.Keyed {
		s.counts["keyed effect deduplicated"]++
		return out
	}
	call.applied++
	if call.applied > 1 && c.Action.Effect == manifest.Once {
		s.problem("%s: took effect %d times", what, call.applied)
	}
	if call.applied > 1 && c.Action.Effect == manifest.Keyed {
		s.problem("%s: took effect under two keys", what)
	}
	var args struct{ Done bool }
	_ = json.Unmarshal(c.Args, &args)
	out := fmt.Appendf(nil, `{"v":%q}`, what)
	if args.Done {
		out = fmt.Appendf(nil, `{"done":true,"v":%q}`, what)
	}
	s.receipts[c.IdempotencyKey] = out
	return out
}
