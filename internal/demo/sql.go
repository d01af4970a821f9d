package demo

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// sqlBytesMax bounds a query; a longer one is refused.
const sqlBytesMax = 4096

// A selection is a parsed query:
//
//	SELECT * | column, … FROM table
//	  [WHERE column =|!=|<>|<|<=|>|>= value [AND …]]
//	  [ORDER BY column [ASC|DESC]] [LIMIT n] [;]
//
// where value is a number, a 'string', CURDATE() or CURDATE() - INTERVAL n DAY.
type selection struct {
	columns []string // nil means all
	table   string
	where   []comparison
	orderBy string
	desc    bool
	limit   int // -1 means all
}

type comparison struct {
	column, op string
	value      any // float64, string or daysAgo
}

// daysAgo is a date before the database's today.
type daysAgo int

// parseSelect reads a query. Anything that is not a SELECT is forbidden, not
// just unreadable.
func parseSelect(sql string) (selection, error) {
	var p sqlParser
	if len(sql) > sqlBytesMax {
		return selection{}, problem{Code: "invalid", Message: "the query is longer than 4096 bytes"}
	}
	if err := p.scan(sql); err != nil {
		return selection{}, err
	}
	if !p.keyword("SELECT") {
		return selection{}, problem{Code: "forbidden", Message: "only SELECT is allowed here"}
	}
	q, err := p.selection()
	if err != nil {
		return selection{}, problem{Code: "invalid", Message: "the query cannot be read: " + err.Error()}
	}
	return q, nil
}

type sqlParser struct {
	tokens []string // words, numbers, 'strings' with their quotes, symbols
}

func (p *sqlParser) scan(s string) error {
	for s = strings.TrimSpace(s); s != ""; s = strings.TrimSpace(s) {
		n := 1
		switch c := s[0]; {
		case c == '\'':
			end := strings.IndexByte(s[1:], '\'')
			if end < 0 {
				return problem{Code: "invalid", Message: "the query cannot be read: a string is not closed"}
			}
			n = end + 2
		case isWord(c):
			for n < len(s) && (isWord(s[n]) || s[n] == '.') {
				n++
			}
		case strings.HasPrefix(s, "<=") || strings.HasPrefix(s, ">=") || strings.HasPrefix(s, "<>") || strings.HasPrefix(s, "!="):
			n = 2
		}
		p.tokens = append(p.tokens, s[:n])
		s = s[n:]
	}
	return nil
}

func isWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func (p *sqlParser) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

func (p *sqlParser) take() string {
	t := p.peek()
	if t != "" {
		p.tokens = p.tokens[1:]
	}
	return t
}

func (p *sqlParser) keyword(k string) bool {
	if !strings.EqualFold(p.peek(), k) {
		return false
	}
	p.take()
	return true
}

func (p *sqlParser) expect(words ...string) error {
	for _, w := range words {
		if !p.keyword(w) {
			return fmt.Errorf("expected %s, found %q", w, p.peek())
		}
	}
	return nil
}

func (p *sqlParser) name() (string, error) {
	t := p.take()
	if t == "" || !isWord(t[0]) || '0' <= t[0] && t[0] <= '9' {
		return "", fmt.Errorf("expected a name, found %q", t)
	}
	return strings.ToLower(t), nil
}

func (p *sqlParser) number() (int, error) {
	t := p.take()
	n, err := strconv.Atoi(t)
	if err != nil || n < 0 || n > 100_000 {
		return 0, fmt.Errorf("expected a whole number up to 100000, found %q", t)
	}
	return n, nil
}

func (p *sqlParser) selection() (q selection, err error) {
	q.limit = -1
	if !p.keyword("*") {
		for {
			c, err := p.name()
			if err != nil {
				return q, err
			}
			q.columns = append(q.columns, c)
			if !p.keyword(",") {
				break
			}
		}
	}
	if err = p.expect("FROM"); err != nil {
		return q, err
	}
	if q.table, err = p.name(); err != nil {
		return q, err
	}
	if p.keyword("WHERE") {
		for {
			c, err := p.comparison()
			if err != nil {
				return q, err
			}
			q.where = append(q.where, c)
			if !p.keyword("AND") {
				break
			}
		}
	}
	if p.keyword("ORDER") {
		if err = p.expect("BY"); err != nil {
			return q, err
		}
		if q.orderBy, err = p.name(); err != nil {
			return q, err
		}
		if q.desc = p.keyword("DESC"); !q.desc {
			p.keyword("ASC")
		}
	}
	if p.keyword("LIMIT") {
		if q.limit, err = p.number(); err != nil {
			return q, err
		}
	}
	p.keyword(";")
	if t := p.peek(); t != "" {
		return q, fmt.Errorf("unexpected %q", t)
	}
	return q, nil
}

func (p *sqlParser) comparison() (c comparison, err error) {
	if c.column, err = p.name(); err != nil {
		return c, err
	}
	c.op = p.take()
	if !slices.Contains([]string{"=", "!=", "<>", "<", "<=", ">", ">="}, c.op) {
		return c, fmt.Errorf("expected a comparison, found %q", c.op)
	}
	c.value, err = p.value()
	return c, err
}

func (p *sqlParser) value() (any, error) {
	if p.keyword("CURDATE") {
		if err := p.expect("(", ")"); err != nil {
			return nil, err
		}
		if !p.keyword("-") {
			return daysAgo(0), nil
		}
		if err := p.expect("INTERVAL"); err != nil {
			return nil, err
		}
		n, err := p.number()
		if err != nil {
			return nil, err
		}
		return daysAgo(n), p.expect("DAY")
	}
	t := p.take()
	if len(t) >= 2 && t[0] == '\'' {
		return t[1 : len(t)-1], nil
	}
	n, err := strconv.ParseFloat(t, 64)
	if err != nil {
		return nil, fmt.Errorf("expected a number, a 'string' or CURDATE(), found %q", t)
	}
	return n, nil
}

// run carries out a query. A row is a JSON object.
func (d *database) run(q selection) ([]map[string]any, error) {
	t, ok := d.tables[q.table]
	if !ok {
		return nil, problem{Code: "invalid", Message: fmt.Sprintf("there is no table %q; there are sales and orders", q.table)}
	}
	index := func(name string) (int, error) {
		i := slices.Index(t.columns, name)
		if i < 0 {
			return 0, problem{Code: "invalid", Message: fmt.Sprintf("table %s has no column %q; it has %s", q.table, name, strings.Join(t.columns, ", "))}
		}
		return i, nil
	}
	if q.columns == nil {
		q.columns = t.columns
	}
	cols := make([]int, len(q.columns))
	var err error
	for i, c := range q.columns {
		if cols[i], err = index(c); err != nil {
			return nil, err
		}
	}

	rows := slices.Clone(t.rows)
	for _, c := range q.where {
		i, err := index(c.column)
		if err != nil {
			return nil, err
		}
		value := c.value
		if n, ok := value.(daysAgo); ok {
			value = d.today.AddDate(0, 0, -int(n)).Format(time.DateOnly)
		}
		rows = slices.DeleteFunc(rows, func(row []any) bool { return !holds(row[i], c.op, value) })
	}
	if q.orderBy != "" {
		i, err := index(q.orderBy)
		if err != nil {
			return nil, err
		}
		slices.SortStableFunc(rows, func(a, b []any) int {
			if q.desc {
				a, b = b, a
			}
			n, _ := compare(a[i], b[i])
			return n
		})
	}
	if q.limit >= 0 && q.limit < len(rows) {
		rows = rows[:q.limit]
	}

	out := make([]map[string]any, len(rows))
	for r, row := range rows {
		out[r] = make(map[string]any, len(cols))
		for i, c := range cols {
			out[r][q.columns[i]] = row[c]
		}
	}
	return out, nil
}

// holds compares a cell with a value. Values of different types are unequal
// and not ordered, so only != holds between them.
func holds(cell any, op string, value any) bool {
	n, ok := compare(cell, value)
	if !ok {
		return op == "!=" || op == "<>"
	}
	switch op {
	case "=":
		return n == 0
	case "<":
		return n < 0
	case "<=":
		return n <= 0
	case ">":
		return n > 0
	case ">=":
		return n >= 0
	}
	return n != 0
}

func compare(a, b any) (int, bool) {
	switch a := a.(type) {
	case float64:
		b, ok := b.(float64)
		return cmp.Compare(a, b), ok
	case string:
		b, ok := b.(string)
		return cmp.Compare(a, b), ok
	}
	return 0, false
}
