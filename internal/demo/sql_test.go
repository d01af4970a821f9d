package demo

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestSelect(t *testing.T) {
	t.Parallel()
	tests := []struct{ sql, want string }{
		{"select * from orders limit 1;", `[{"customer":"alice@example.com","order_id":"A-1001","status":"shipped"}]`},
		{"SELECT sales FROM sales WHERE region = 'west' AND sales > 1000", `[{"sales":1234}]`},
		{"SELECT date FROM sales ORDER BY sales DESC LIMIT 2", `[{"date":"2024-01-02"},{"date":"2024-01-01"}]`},
		{"SELECT date FROM sales WHERE date < CURDATE() - INTERVAL 3 DAY ORDER BY date ASC", `[{"date":"2023-12-30"}]`},
		{"SELECT date FROM sales WHERE date >= CURDATE()", `[]`},
		{"SELECT date FROM sales WHERE sales <> 'x' AND sales != 640 AND sales <= 1234 AND date = '2024-01-01'", `[{"date":"2024-01-01"}]`},
		{"SELECT date FROM sales LIMIT 0", `[]`},
		{"", "only SELECT"},
		{"UPDATE sales SET sales = 0", "only SELECT"},
		{"SELECT date FROM sales; DROP TABLE sales", `unexpected "DROP"`},
		{"SELECT date FROM nothing", "no table"},
		{"SELECT x FROM sales", "no column"},
		{"SELECT date FROM sales WHERE x = 1", "no column"},
		{"SELECT date FROM sales ORDER BY x", "no column"},
		{"SELECT date FROM sales WHERE date LIKE 'x'", "comparison"},
		{"SELECT date FROM sales WHERE date = 'x", "not closed"},
		{"SELECT date FROM sales WHERE date = CURDATE() - INTERVAL x DAY", "whole number"},
		{"SELECT date FROM sales WHERE date = y", "expected a number"},
		{"SELECT date sales", "expected FROM"},
		{"SELECT , FROM sales", "expected a name"},
		{"SELECT date FROM sales LIMIT -1", "whole number"},
		{"SELECT " + strings.Repeat("x", sqlBytesMax), "longer"},
	}
	d := newDatabase()
	for _, tt := range tests {
		q, err := parseSelect(tt.sql)
		var rows []map[string]any
		if err == nil {
			rows, err = d.run(q)
		}
		got, _ := json.Marshal(rows)
		if err != nil {
			got = []byte(err.Error())
		}
		if string(got) != tt.want && (err == nil || !strings.Contains(string(got), tt.want)) {
			t.Errorf("%s\n got %s\nwant %s", tt.sql, got, tt.want)
		}
	}
}

func FuzzSelect(f *testing.F) {
	f.Add("SELECT date, sales FROM sales WHERE date >= CURDATE() - INTERVAL 2 DAY ORDER BY date DESC LIMIT 3;")
	f.Add("SELECT * FROM orders WHERE status <> 'shipped' AND order_id = 'A'")
	f.Add("DROP TABLE sales")
	d := newDatabase()
	f.Fuzz(func(t *testing.T, sql string) {
		q, err := parseSelect(sql)
		if err != nil {
			return
		}
		rows, err := d.run(q)
		if err == nil && len(rows) > 4 {
			t.Errorf("%q returned %d rows of a table with 4", sql, len(rows))
		}
	})
}
