package expr

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/common/types/ref"
)

// Render returns the value with every placeholder replaced. A string that is
// one placeholder becomes the value itself, unrounded and shared with v;
// within text, strings are written as they are, null and missing values as
// nothing, and other values as compact JSON. Rendered text is not looked at
// again, so data never acts as a template.
//
// A string that is one placeholder for a path that is not there is an error
// with [ReasonMissing]; a null that is there renders as null. The error is an
// [*EvalError] whose Pointer leads to the string.
func (t *Template) Render(ctx context.Context, v Vars) (any, error) {
	r := &rendering{ctx: ctx, scope: templateScope(&v), budget: meter{left: renderedMax}}
	out, err := t.root.render(r)
	var e *EvalError
	if errors.As(err, &e) && e.Source == "" {
		e.Source = t.source
	}
	return out, err
}

// rendering is the state of one Render call.
type rendering struct {
	ctx    context.Context
	scope  scope
	budget meter
	cost   uint64
}

// eval evaluates one placeholder.
func (r *rendering) eval(p *program) (ref.Val, error) {
	out, details, err := p.exec(r.ctx, p.plan, r.scope)
	if err != nil {
		return nil, err
	}
	if cost := details.ActualCost(); cost != nil {
		r.cost += *cost
	}
	if r.cost > renderCostMax {
		return nil, evalErrorf(ReasonCost, "use fewer placeholders", "rendering the template exceeds the cost limit of %d", renderCostMax)
	}
	return out, nil
}

// charge counts a rendered value against the size limit.
func (r *rendering) charge(v any) error {
	if !r.budget.take(v, 0) {
		return errRendered()
	}
	return nil
}

func errRendered() error {
	return evalErrorf(ReasonSize, "pass a smaller part of the data", "the rendered template is larger than %d bytes", renderedMax)
}

func (n constantNode) render(r *rendering) (any, error) {
	return n.value, r.charge(n.value)
}

func (n listNode) render(r *rendering) (any, error) {
	made := make([]any, 0, len(n))
	for _, item := range n {
		v, err := item.render(r)
		if err != nil {
			return nil, err
		}
		made = append(made, v)
	}
	return made, nil
}

func (n objectNode) render(r *rendering) (any, error) {
	made := make(map[string]any, len(n))
	for _, name := range slices.Sorted(maps.Keys(n)) {
		v, err := n[name].render(r)
		if err != nil {
			return nil, err
		}
		made[name] = v
	}
	return made, nil
}

func (n wholeNode) render(r *rendering) (any, error) {
	out, err := r.eval(n.program)
	if err == nil {
		if gone, ok := out.(absent); ok {
			err = evalErrorf(ReasonMissing, "make an earlier step provide it", "%s is missing", gone.path)
		}
	}
	if err != nil {
		return nil, located(err, n.program, n.pointer)
	}
	v := native(out)
	if err := r.charge(v); err != nil {
		return nil, located(err, n.program, n.pointer)
	}
	return v, nil
}

func (n textNode) render(r *rendering) (any, error) {
	var b strings.Builder
	for _, p := range n.parts {
		if p.program == nil {
			if err := r.charge(p.literal); err != nil {
				return nil, err
			}
			b.WriteString(p.literal)
			continue
		}
		out, err := r.eval(p.program)
		if err != nil {
			return nil, located(err, p.program, n.pointer)
		}
		v := native(out)
		if err := r.charge(v); err != nil {
			return nil, located(err, p.program, n.pointer)
		}
		written, err := textOf(v)
		if err != nil {
			return nil, located(err, p.program, n.pointer)
		}
		b.WriteString(written)
		if b.Len() > renderedMax {
			return nil, located(errRendered(), p.program, n.pointer)
		}
	}
	return b.String(), nil
}

// located says where in the template an error belongs.
func located(err error, p *program, pointer string) error {
	var e *EvalError
	if !errors.As(err, &e) {
		return err
	}
	at := *e
	at.Source, at.Pointer = p.source, pointer
	return &at
}

// textOf writes a value as it appears within text.
func textOf(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	}
	return compactJSON(v)
}

func compactJSON(v any) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "", evalErrorf(ReasonType, "pass decoded JSON values only", "the value is not JSON: %v", err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}
