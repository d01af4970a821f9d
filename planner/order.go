package planner

import (
	"slices"

	"github.com/oap-runtime/oap/manifest"
)

// ordered returns the calls with their dependencies. What a placeholder names
// is always waited for. Apart from that a chain stays a chain, except that
// neighbouring reads which cannot notice each other run together.
func (c *checker) ordered() []Intent {
	calls := make([]Intent, len(c.calls))
	for i, call := range c.calls {
		calls[i] = call.Intent
		calls[i].After = slices.Clone(call.After)
	}
	if c.chain() {
		var base []int // what the current group waits for
		group := []int{0}
		for i := 1; i < len(calls); i++ {
			if !c.joins(i, group) {
				base, group = group, nil
			}
			group = append(group, i)
			calls[i].After = slices.Clone(base)
		}
	}
	for i, call := range c.calls {
		for _, j := range call.uses {
			if !slices.Contains(calls[i].After, j) {
				calls[i].After = append(calls[i].After, j)
			}
		}
		slices.Sort(calls[i].After)
	}
	return calls
}

// chain reports whether the plan is a plain list in order.
func (c *checker) chain() bool {
	for i := 1; i < len(c.calls); i++ {
		if a := c.calls[i].After; len(a) != 1 || a[0] != i-1 {
			return false
		}
	}
	return true
}

// joins reports whether call i can run at the same time as the group before it.
func (c *checker) joins(i int, group []int) bool {
	call := c.calls[i]
	if !independent(call.action) || call.stateful || len(call.action.Preconditions) > 0 {
		return false
	}
	for _, j := range group {
		if !independent(c.calls[j].action) || slices.Contains(call.uses, j) {
			return false
		}
	}
	return true
}

// independent reports whether making the call changes nothing that another one
// could notice. A question to a person and the last call of a session are never
// made on the side.
func independent(a *manifest.Action) bool {
	return a.Effect == manifest.Read && a.Type != manifest.HumanIntervention && !a.Terminal
}
