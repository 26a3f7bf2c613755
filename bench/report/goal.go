package report

import "fmt"

// Goal is what a row should reach.
type Goal struct {
	// Limit is for the ratio of the server to the reference or the base, or for
	// the server's own value when Absolute is true.
	Limit    float64
	Absolute bool
	AtLeast  bool // otherwise: at most
}

// AtMost is a goal for the ratio.
func AtMost(limit float64) *Goal { return &Goal{Limit: limit} }

// AtLeast is a goal for the ratio.
func AtLeast(limit float64) *Goal { return &Goal{Limit: limit, AtLeast: true} }

// noise is by how much two equal servers may differ: 0.9 to 1.1 is equal.
const noise = 0.1

// The verdicts on a goal.
const (
	met    = "met"
	equal  = "met (noise)" // missed by less than the noise
	missed = "missed"
)

// verdict judges a value.
func (g *Goal) verdict(value float64) string {
	limit, over := g.Limit, value > g.Limit
	if g.AtLeast {
		over = value < limit
	}
	switch {
	case !over:
		return met
	case !g.Absolute && !g.AtLeast && limit == 1 && value <= 1+noise:
		return equal
	default:
		return missed
	}
}

func (g *Goal) String() string {
	sign, unit := "≤", ""
	if g.AtLeast {
		sign = "≥"
	}
	if !g.Absolute {
		unit = "x"
	}
	return fmt.Sprintf("%s %g%s", sign, g.Limit, unit)
}
