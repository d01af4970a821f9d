package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// Requests that the guest modules send through their door, told apart by the first byte.
const (
	doorResult = 'R' // the JSON result
	doorError  = 'E' // a failure, as JSON
	doorLLM    = 'L' // a chat.completions request for the granted model
	doorStdout = '1' // text for stdout, from languages without streams of their own
	doorStderr = '2'
	doorSleep  = 'S' // nanoseconds, in decimal, by which the clock moves

	replyOK, replyError = "+", "-"
)

const (
	// hostRequestBytesMax and hostReplyBytesMax bound what a granted function gets and may answer; beyond them the guest
	// sees an exception.
	hostRequestBytesMax = 1 << 20
	hostReplyBytesMax   = 4 << 20

	// failureBytesMax bounds the description of a failure; a longer one is replaced.
	failureBytesMax = 64 << 10
	messageBytesMax = 8 << 10
	traceBytesMax   = 16 << 10

	// bytesPerFuel is the price of bytes that cross the door.
	bytesPerFuel = 64
)

// door is the only way out of an execution besides the two streams. Guest code can reach it directly, so nothing that
// comes through is trusted.
type door struct {
	result  []byte
	failure *GuestError
	calls   int
	busy    bool   // a message is being served
	reply   []byte // waits for the guest to take it
}

// request serves one message from the guest and returns the reply, empty when there is none.
func (x *execution) request(message []byte) []byte {
	x.Charge(int64(len(message)) / bytesPerFuel)
	if len(message) == 0 {
		return nil
	}
	body := message[1:]
	switch message[0] {
	case doorResult:
		if n := int64(len(body)); n > x.limits.OutputBytes {
			panic(&stopped{&LimitError{Limit: LimitOutput, Used: n, Max: x.limits.OutputBytes, Unit: "bytes",
				Remedy: "return less, or raise limits.output_bytes"}})
		}
		x.door.result = append([]byte(nil), body...)
	case doorError:
		x.door.failure = parseFailure(body)
	case doorStdout:
		x.Write(1, body)
	case doorStderr:
		x.Write(2, body)
	case doorSleep:
		if ns, err := strconv.ParseInt(string(body), 10, 64); err == nil && ns >= 0 {
			x.Sleep(ns)
		}
	case doorLLM:
		return x.reply(x.llm(body))
	}
	return nil
}

func (x *execution) reply(body []byte, err error) []byte {
	if err == nil && len(body) > hostReplyBytesMax {
		err = fmt.Errorf("the reply has %d bytes, more than %d", len(body), hostReplyBytesMax)
	}
	if err != nil {
		return append([]byte(replyError), cut(err.Error(), messageBytesMax)...)
	}
	x.Charge(int64(len(body)) / bytesPerFuel)
	return append([]byte(replyOK), body...)
}

// llm calls the granted model. Errors that it returns go to the guest; limits and cancellation stop it.
func (x *execution) llm(body []byte) ([]byte, error) {
	call := x.program.Grants.LLM
	if call == nil {
		return nil, errors.New("the model is not granted to this action")
	}
	if len(body) > hostRequestBytesMax {
		return nil, fmt.Errorf("the request has %d bytes, more than %d", len(body), hostRequestBytesMax)
	}
	if !json.Valid(body) {
		return nil, errors.New("the request is not JSON")
	}
	x.door.calls++
	if x.door.calls > x.limits.HostCalls {
		panic(&stopped{&LimitError{Limit: LimitHostCalls, Used: int64(x.door.calls), Max: int64(x.limits.HostCalls), Unit: "calls",
			Remedy: "call the host less often, or raise limits.host_calls"}})
	}
	ctx, cancel := context.WithTimeoutCause(x.ctx, x.limits.HostTime-x.hostTime, errHostTime)
	defer cancel()
	x.ticket.release()
	begun := time.Now()
	reply, err := call(ctx, append(json.RawMessage(nil), body...))
	answered := time.Now()
	stop := x.ticket.reacquire(x.ctx)
	x.hostTime += answered.Sub(begun)
	x.waited += time.Since(answered)
	switch {
	case stop != nil:
		panic(&stopped{stop})
	case x.ctx.Err() != nil:
		panic(&stopped{context.Cause(x.ctx)})
	case ctx.Err() != nil:
		panic(&stopped{&LimitError{Limit: LimitHostTime, Used: x.hostTime.Milliseconds(), Max: x.limits.HostTime.Milliseconds(),
			Unit: "ms", Remedy: "ask for shorter answers, or raise limits.host_time"}})
	case err != nil:
		return nil, err
	case !json.Valid(reply):
		return nil, errors.New("the model's answer is not JSON")
	}
	return reply, nil
}

var errHostTime = errors.New("the time for host calls is used up")

// parseFailure reads what the guest says about its failure.
func parseFailure(body []byte) *GuestError {
	var f struct{ Kind, Message, Traceback string }
	if len(body) > failureBytesMax || json.Unmarshal(body, &f) != nil || f.Kind == "" {
		return &GuestError{Kind: "Error", Message: "the code failed and the failure could not be described"}
	}
	return &GuestError{Kind: cut(f.Kind, nameBytesMax), Message: cut(f.Message, messageBytesMax), Traceback: cut(f.Traceback, traceBytesMax)}
}

// cut shortens s to at most n bytes of whole characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	const mark = "…"
	n -= len(mark)
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n] + mark
}
