package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/oap-runtime/oap/internal/fault"
)

// problemsMax bounds the problems that one error lists; it says how many more
// there are.
const problemsMax = 100

// problems collects everything that is wrong with a document.
type problems struct {
	details []fault.Detail
	more    int
	other   bool // something besides syntax was reported
}

// report adds a problem with a value of the document; nil is the document.
func (p *problems) report(n *node, code, remedy, format string, args ...any) {
	if p.full() {
		p.drop(code)
		return
	}
	if n == nil {
		p.reportAt("", 0, 0, code, remedy, format, args...)
		return
	}
	p.reportAt(n.pointer(), n.line, n.column, code, remedy, format, args...)
}

func (p *problems) reportAt(pointer string, line, column int, code, remedy, format string, args ...any) {
	if p.full() {
		p.drop(code)
		return
	}
	p.other = p.other || code != "syntax"
	p.details = append(p.details, fault.Detail{
		Pointer: pointer, Line: line, Column: column, Code: code,
		Message: fmt.Sprintf(format, args...), Remedy: remedy,
	})
}

// full reports whether further problems are only counted, so that nobody need
// spend time on wording them.
func (p *problems) full() bool { return len(p.details) == problemsMax }

func (p *problems) drop(code string) {
	p.other = p.other || code != "syntax"
	p.more++
}

func (p *problems) merge(q *problems) {
	for _, d := range q.details {
		p.reportAt(d.Pointer, d.Line, d.Column, d.Code, d.Remedy, "%s", d.Message)
	}
	p.more += q.more
}

// syntaxOnly reports whether nothing but syntax is wrong.
func (p *problems) syntaxOnly() bool { return !p.other }

func (p *problems) any() bool { return len(p.details) > 0 }

// err returns the problems in document order as one error, or nil.
func (p *problems) err() error {
	if !p.any() {
		return nil
	}
	count := len(p.details) + p.more
	e := fault.New(fault.ManifestInvalid, "the manifest has %d problems", count)
	if count == 1 {
		e.Message = "the manifest has a problem"
	}
	if p.more > 0 {
		e.Message += fmt.Sprintf(", of which %d are listed", len(p.details))
	}
	e.Details = p.sorted()
	return e
}

// sorted returns the details in document order.
func (p *problems) sorted() []fault.Detail {
	slices.SortStableFunc(p.details, func(a, b fault.Detail) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return p.details
}

// clip shortens s for a message to a few dozen bytes of one line.
func clip(s string) string {
	const most = 80
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
