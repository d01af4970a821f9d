package expr

import (
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/parser"
)

// celParser is CEL's grammar without its macros, except has(). It is safe for
// concurrent use.
var celParser = sync.OnceValues(func() (*parser.Parser, error) {
	return parser.NewParser(
		parser.EnablePrattParser(true),
		parser.EnableIdentEscapeSyntax(false),
		parser.EnableOptionalSyntax(false),
		parser.Macros(parser.HasMacro),
		parser.MaxRecursionDepth(depthMax),
		parser.ExpressionSizeCodePointLimit(sourceMax*len(wildcard)),
		parser.ErrorReportingLimit(1),
	)
})

// parsed is the tree of one expression within a source.
type parsed struct {
	source string
	start  int // where text begins in the scanned source
	scan   *scanned
	expr   ast.Expr
	info   *ast.SourceInfo
}

// parse parses the part [from, to) of a scanned source.
func parse(source string, s *scanned, from, to int) (*parsed, error) {
	p := &parsed{source: source, start: from, scan: s}
	grammar, err := celParser()
	if err != nil {
		return nil, p.errorAt(0, "", "%v", err)
	}
	tree, errs := grammar.Parse(common.NewTextSource(s.text[from:to]))
	if list := errs.GetErrors(); len(list) > 0 {
		at := byteOffset(s.text[from:to], list[0].Location)
		message, remedy := parseMessage(list[0].Message)
		return nil, p.errorAt(at, remedy, "%s", message)
	}
	p.expr, p.info = tree.Expr(), tree.SourceInfo()
	return p, nil
}

// parseMessage puts what CEL says about a source in our words.
func parseMessage(message string) (text, remedy string) {
	text = strings.TrimPrefix(respell(message), "Syntax error: ")
	text = strings.NewReplacer("'<EOF>'", "the end", "<EOF>", "the end", "mismatched input", "found").Replace(text)
	switch {
	case strings.Contains(text, "recursion limit"):
		return fmt.Sprintf("the expression is nested deeper than %d", depthMax), "split it"
	case strings.Contains(text, "int literal"):
		return text, "whole numbers go up to 9223372036854775807; put a longer one in the state"
	case strings.Contains(text, "identifier after '.'"):
		return text, "write a name that is a keyword or has other characters in brackets, as in state['in']"
	}
	return text, ""
}

// byteOffset turns the line and column, in characters, that CEL reports into
// an offset into text.
func byteOffset(text string, at common.Location) int {
	line, offset := 1, 0
	for line < at.Line() {
		i := strings.IndexByte(text[offset:], '\n')
		if i < 0 {
			break
		}
		offset += i + 1
		line++
	}
	column := 0
	for i := range text[offset:] {
		if column == at.Column() {
			return offset + i
		}
		column++
	}
	return len(text)
}

// respell undoes what the scanner did, for messages.
func respell(text string) string { return strings.ReplaceAll(text, wildcard, "[*]") }

func (p *parsed) errorAt(at int, remedy, format string, args ...any) error {
	return &SyntaxError{Source: p.source, Offset: p.scan.sourceOffset(p.start + at), Message: fmt.Sprintf(format, args...), Remedy: remedy}
}

func (p *parsed) errorf(e ast.Expr, remedy, format string, args ...any) error {
	// CEL places an operator where its sign is; the expression begins at the
	// leftmost of its parts.
	first := int32(len(p.scan.text))
	ast.PreOrderVisit(e, ast.NewExprVisitor(func(part ast.Expr) {
		if r, ok := p.info.GetOffsetRange(part.ID()); ok {
			first = min(first, r.Start)
		}
	}))
	text := p.scan.text[p.start:]
	at := byteOffset(text, p.info.GetLocationByOffset(first))
	if e.Kind() == ast.CallKind {
		// A function is placed at its bracket.
		name, before := e.AsCall().FunctionName(), strings.TrimRight(text[:at], " \t\r\n")
		if strings.HasSuffix(before, name) {
			at = len(before) - len(name)
		}
	}
	return p.errorAt(at, remedy, format, args...)
}

// text writes a node as its author would, to name it in messages.
func (p *parsed) text(e ast.Expr) string {
	text, err := parser.Unparse(e, p.info)
	if err != nil {
		return clip(p.source, valueShownMax)
	}
	return clip(respell(text), sourceShownMax)
}
