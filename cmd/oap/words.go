package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/oap-runtime/oap/executor"
	"github.com/oap-runtime/oap/planner"
)

// callUsage says in words what a call took, next to what was declared, if
// anything (S0-54).
func callUsage(ms, declared int64, u executor.Usage) string {
	parts := []string{duration(ms)}
	if declared > 0 {
		parts[0] += " (" + duration(declared) + " declared)"
	}
	if u.HTTPStatus != 0 {
		parts = append(parts, fmt.Sprintf("HTTP %d", u.HTTPStatus))
	}
	if u.Attempts > 1 {
		parts = append(parts, fmt.Sprintf("%d attempts", u.Attempts))
	}
	if s := u.Sandbox; s != nil {
		parts = append(parts, fmt.Sprintf("sandbox: %d of %d ms CPU, %.0f MiB", s.CPUMS, s.CPULimitMS, float64(s.MemoryBytes)/(1<<20)))
	}
	if m := u.Model; m != nil && m.Calls > 0 {
		parts = append(parts, fmt.Sprintf("%s by the code, %d tokens", plural(m.Calls, "model call"), m.PromptTokens+m.CompletionTokens))
	}
	return strings.Join(parts, " · ")
}

// modelUsage says in words what the model took, or "" if it was not asked.
func modelUsage(u planner.Usage) string {
	n := u.PromptTokens + u.CompletionTokens
	if n == 0 {
		return ""
	}
	about := ""
	if u.Estimated {
		about = "about "
	}
	s := fmt.Sprintf("%s%d tokens", about, n)
	if u.CostUSD > 0 {
		s += fmt.Sprintf(" · $%.4f", u.CostUSD)
	}
	return s
}

func duration(ms int64) string {
	switch d := time.Duration(ms) * time.Millisecond; {
	case d < time.Second:
		return fmt.Sprintf("%d ms", ms)
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	default:
		return d.Round(time.Second).String()
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// lastPart returns the last n characters of s.
func lastPart(s string, n int) string {
	r := []rune(strings.Join(strings.Fields(s), " "))
	return string(r[max(len(r)-n, 0):])
}
