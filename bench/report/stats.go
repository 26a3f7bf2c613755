package report

import "slices"

// Median returns the middle value, or the mean of the two in the middle. It is 0
// for no values.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// Point is a measurement y at x.
type Point struct{ X, Y float64 }

// Slope is how much y grows with x between two points. It is 0 if both have the
// same x.
func Slope(a, b Point) float64 {
	if a.X == b.X {
		return 0
	}
	return (b.Y - a.Y) / (b.X - a.X)
}
