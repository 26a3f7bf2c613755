// Package report collects what the benchmark measures and prints it as a table.
package report
