package redis

import (
	"context"

	"belfry/channels/cluster"
)

// Settle implements [cluster.Driver].
func (d *Driver) Settle(ctx context.Context, departures ...cluster.Departure) ([]bool, error) {
	lasted := make([]bool, len(departures))
	if len(departures) == 0 {
		return lasted, nil
	}
	err := d.read(ctx, func(ctx context.Context, s *session) error {
		calls := make([]call, len(departures))
		for i, departure := range departures {
			t := departure.Topic
			calls[i] = call{settleScript, []string{d.keys.tag(t) + "g:" + t.Channel}, []string{departure.UserID}}
		}
		for i, result := range s.run(ctx, calls...) {
			answer, err := result.AsIntSlice()
			if err != nil || len(answer) != 1 {
				return errAnswer
			}
			lasted[i] = answer[0] == 1
		}
		return nil
	})
	return lasted, err
}
