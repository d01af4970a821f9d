package demo

import (
	"encoding/json"
	"net/http"
	"sync"
)

// latencyMSMax bounds an injected delay; more is refused.
const latencyMSMax = 60_000

// A Mode says how an injected fault goes wrong.
type Mode string

const (
	ModeNone  Mode = ""      // only the delays apply
	ModeError Mode = "error" // answer Status, nothing happens
	ModeDrop  Mode = "drop"  // the effect takes place, the connection breaks before the answer
)

// A Fault is a disturbance of a service.
type Fault struct {
	Service           string `json:"service"`   // "" means every service
	Operation         string `json:"operation"` // for example "POST /v1/events"; "" means all
	Mode              Mode   `json:"mode"`
	Status            int    `json:"status"`              // for ModeError; 0 means 503
	Times             int    `json:"times"`               // requests it applies to; 0 means until replaced
	LatencyMS         int    `json:"latency_ms"`          // before the operation
	ResponseLatencyMS int    `json:"response_latency_ms"` // between the operation and the answer
}

// faults is the one fault in force.
type faults struct {
	mu    sync.Mutex
	fault Fault
	left  int // requests it still applies to; -1 means no bound
}

// next returns the fault for one request and counts it.
func (f *faults) next(service, operation string) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	x := f.fault
	if f.left == 0 || x.Service != "" && x.Service != service || x.Operation != "" && x.Operation != operation {
		return Fault{}
	}
	if f.left > 0 {
		f.left--
	}
	return x
}

// Inject replaces the fault in force. The zero Fault ends all disturbance.
func (w *World) Inject(x Fault) error {
	var p fields
	p.check(x.LatencyMS >= 0 && x.LatencyMS <= latencyMSMax, "latency_ms", "must be between 0 and 60000")
	p.check(x.ResponseLatencyMS >= 0 && x.ResponseLatencyMS <= latencyMSMax, "response_latency_ms", "must be between 0 and 60000")
	p.check(x.Times >= 0, "times", "must not be negative")
	p.check(x.Mode == ModeNone || x.Mode == ModeError || x.Mode == ModeDrop, "mode", `must be "", "error" or "drop"`)
	if x.Status == 0 {
		x.Status = http.StatusServiceUnavailable
	}
	p.check(x.Status >= 400 && x.Status <= 599, "status", "must be between 400 and 599")
	if err := p.err(); err != nil {
		return err
	}
	left := x.Times
	if left == 0 {
		left = -1
	}
	w.faults.mu.Lock()
	defer w.faults.mu.Unlock()
	w.faults.fault, w.faults.left = x, left
	return nil
}

// Control returns the handler of the control endpoint: GET /_effects lists the
// effects, POST /_faults takes a Fault. Both ask for ControlToken.
func (w *World) Control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_effects", func(rw http.ResponseWriter, r *http.Request) {
		respond(rw, http.StatusOK, map[string]any{"effects": w.Effects()})
	})
	mux.HandleFunc("POST /_faults", func(rw http.ResponseWriter, r *http.Request) {
		var x Fault
		d := json.NewDecoder(http.MaxBytesReader(rw, r.Body, bodyBytesMax))
		d.DisallowUnknownFields()
		err := d.Decode(&x)
		if err == nil {
			err = w.Inject(x)
		}
		if err != nil {
			respond(rw, http.StatusBadRequest, asProblem(err))
			return
		}
		rw.WriteHeader(http.StatusNoContent)
	})
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !bearer(r, w.control) {
			rw.Header().Set("WWW-Authenticate", "Bearer")
			respond(rw, http.StatusUnauthorized, problem{Code: "unauthorized", Message: "send the header Authorization: Bearer <control token>"})
			return
		}
		mux.ServeHTTP(rw, r)
	})
}
