package scripted

import (
	"regexp"
	"strconv"
	"strings"
)

// A prompt is what a request of either wire protocol says.
type prompt struct {
	model    string
	messages []message
	stream   bool
	usage    bool // wanted at the end of a stream
	schema   bool // native structured output was asked for
}

type message struct{ role, text string }

// text returns what one role says, or with "" everybody, in order.
func (p prompt) text(role string) string {
	var parts []string
	for _, m := range p.messages {
		if role == "" || m.role == role {
			parts = append(parts, m.text)
		}
	}
	return strings.Join(parts, "\n")
}

// The planner's prompt lists each finished call as a line of JSON, and says
// how many older ones it leaves out.
var (
	stepLine     = regexp.MustCompile(`(?m)^\{"step":\d+,"action":`)
	stepsOmitted = regexp.MustCompile(`(?m)^Calls made so far, oldest first \((\d+) older ones left out\)`)
)

// countSteps counts the calls that a prompt lists as made.
func (m *Match) countSteps(p prompt) int {
	if m.steps != nil {
		return len(m.steps.FindAllStringIndex(p.text(m.Role), -1))
	}
	user := p.text("user")
	n := len(stepLine.FindAllStringIndex(user, -1))
	if omitted := stepsOmitted.FindStringSubmatch(user); omitted != nil {
		more, err := strconv.Atoi(omitted[1])
		if err == nil {
			n += more
		}
	}
	return n
}

// matches reports whether every condition holds, and what the named groups
// found.
func (m *Match) matches(p prompt) (found map[string]string, ok bool) {
	if m.model != nil && !m.model.MatchString(p.model) {
		return nil, false
	}
	if m.Schema != nil && *m.Schema != p.schema {
		return nil, false
	}
	text := p.text(m.Role)
	for _, s := range m.Contains {
		if !strings.Contains(text, s) {
			return nil, false
		}
	}
	for _, s := range m.NotContains {
		if strings.Contains(text, s) {
			return nil, false
		}
	}
	if m.MinSteps > 0 || m.MaxSteps != nil {
		n := m.countSteps(p)
		if n < m.MinSteps || m.MaxSteps != nil && n > *m.MaxSteps {
			return nil, false
		}
	}
	found = map[string]string{}
	for _, re := range m.patterns {
		groups := re.FindStringSubmatch(text)
		if groups == nil {
			return nil, false
		}
		for i, name := range re.SubexpNames() {
			if name != "" {
				found[name] = groups[i]
			}
		}
	}
	return found, true
}

// choose returns the first rule that matches and is not used up.
func (s *Script) choose(p prompt) (rule *Rule, found map[string]string) {
	for _, r := range s.Rules {
		found, ok := r.Match.matches(p)
		if ok && r.take() {
			return r, found
		}
	}
	return nil, nil
}

// take uses the rule once, unless it is used up.
func (r *Rule) take() bool {
	return r.Times == 0 || r.used.Add(1) <= int64(r.Times)
}
