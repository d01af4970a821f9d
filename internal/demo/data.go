package demo

import (
	"time"
)

// A database answers SELECT over two tables that never change. Its today is
// fixed, so that a report over "the last two days" is the same every day.
type database struct {
	today  time.Time
	tables map[string]table
}

type table struct {
	columns []string
	rows    [][]any // float64 or string
}

func newDatabase() database {
	return database{
		today: time.Date(2024, 1, 3, 0, 0, 0, 0, time.UTC),
		tables: map[string]table{
			"sales": {
				columns: []string{"date", "sales", "region"},
				rows: [][]any{
					{"2023-12-30", 987.0, "west"},
					{"2023-12-31", 640.0, "east"},
					{"2024-01-01", 1234.0, "west"},
					{"2024-01-02", 1500.0, "east"},
				},
			},
			"orders": {
				columns: []string{"order_id", "customer", "status"},
				rows: [][]any{
					{"A-1001", "alice@example.com", "shipped"},
					{"A-1002", "bob@example.com", "delayed"},
				},
			},
		},
	}
}

func (d *database) query(r request) (any, error) {
	var in struct {
		SQL string `json:"sql"`
	}
	if err := decode(r.body, &in); err != nil {
		return nil, err
	}
	q, err := parseSelect(in.SQL)
	if err != nil {
		return nil, err
	}
	rows, err := d.run(q)
	if err != nil {
		return nil, err
	}
	return map[string]any{"rows": rows}, nil
}
