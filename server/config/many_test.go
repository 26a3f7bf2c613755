package config

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkApps decodes a file with many apps.
func BenchmarkApps(b *testing.B) {
	for _, n := range []int{5_000, 100_000} {
		var file strings.Builder
		file.WriteString("apps:\n")
		for i := range n {
			fmt.Fprintf(&file, "  - {id: %d, key: key-%d, secret: secret-of-app-%d}\n", i, i, i)
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse("config.yaml", []byte(file.String()), nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
