package report

import (
	"encoding/json"
	"io"
)

// Key names a row.
type Key struct {
	Workload string `json:"workload"`
	Metric   string `json:"metric"` // with its unit
}

// row is one metric of one workload.
type row struct {
	Key
	Goals  map[string]*Goal     `json:"goals,omitempty"` // by server
	Values map[string][]float64 `json:"values"`          // by server, one a round
}

// Report is the rows in the order in which they came. It must not be used
// concurrently.
type Report struct {
	// Servers are the columns. The first one is compared with the others.
	Servers []string
	// Base, unless it is empty, is the column that the others are compared with
	// instead.
	Base string
	// Reference is the server that the goals for ratios are about if Base is empty.
	Reference string
	// Notes are printed below the table.
	Notes []string

	rows []*row
}

// Add appends the value of one more round. The goal is the server's own; of those that
// others are compared with, and of all but the first if Base is empty, none is judged.
func (r *Report) Add(key Key, goal *Goal, server string, value float64) {
	row := r.row(key)
	row.Values[server] = append(row.Values[server], value)
	if goal != nil && r.judges(server) {
		row.Goals[server] = goal
	}
}

// row returns that of the key, made if need be.
func (r *Report) row(key Key) *row {
	for _, row := range r.rows {
		if row.Key == key {
			return row
		}
	}
	row := &row{key, make(map[string]*Goal), make(map[string][]float64)}
	r.rows = append(r.rows, row)
	return row
}

// judges reports whether the server's goals are judged.
func (r *Report) judges(server string) bool {
	if r.Base != "" {
		return server != r.Base
	}
	return server == r.Servers[0] && server != r.Reference
}

// Empty reports whether there is nothing to print.
func (r *Report) Empty() bool { return len(r.rows) == 0 }

// pairs are the columns that are compared: what, and with what.
func (r *Report) pairs() (pairs [][2]string) {
	for _, s := range r.Servers {
		switch {
		case r.Base == "" && s != r.Servers[0]:
			pairs = append(pairs, [2]string{r.Servers[0], s})
		case r.Base != "" && s != r.Base:
			pairs = append(pairs, [2]string{s, r.Base})
		}
	}
	return pairs
}

// WriteJSON writes every single value of the reports, as a list of them.
func WriteJSON(w io.Writer, reports []*Report) error {
	type table struct {
		Servers []string `json:"servers"`
		Rows    []*row   `json:"rows"`
		Notes   []string `json:"notes"`
	}
	tables := make([]table, len(reports))
	for i, r := range reports {
		tables[i] = table{r.Servers, r.rows, r.Notes}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(tables)
}
