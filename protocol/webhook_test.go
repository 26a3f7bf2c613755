package protocol

import "testing"

// The events that Pusher's documentation shows, field by field.
func TestWebhookEvents(t *testing.T) {
	id, ok := ParseSocketID("1.2")
	if !ok {
		t.Fatal("not a socket id")
	}
	tests := []struct {
		event WebhookEvent
		want  string
	}{
		{WebhookEvent{Name: WebhookChannelOccupied, Channel: "c"}, `{"name":"channel_occupied","channel":"c"}`},
		{WebhookEvent{Name: WebhookChannelVacated, Channel: "c"}, `{"name":"channel_vacated","channel":"c"}`},
		{WebhookEvent{Name: WebhookCacheMiss, Channel: "cache-c"}, `{"name":"cache_miss","channel":"cache-c"}`},
		{WebhookEvent{Name: WebhookMemberAdded, Channel: "presence-c", UserID: `a"b`}, `{"name":"member_added","channel":"presence-c","user_id":"a\"b"}`},
		{WebhookEvent{Name: WebhookMemberRemoved, Channel: "presence-c", UserID: "1"}, `{"name":"member_removed","channel":"presence-c","user_id":"1"}`},
		{WebhookEvent{Name: WebhookSubscriptionCount, Channel: "c"}, `{"name":"subscription_count","channel":"c","subscription_count":0}`},
		{WebhookEvent{Name: WebhookClientEvent, Channel: "private-c", Event: "client-e", Data: []byte(`"{\"a\":1}"`), SocketID: id},
			`{"name":"client_event","channel":"private-c","event":"client-e","data":"{\"a\":1}","socket_id":"1.2"}`},
		{WebhookEvent{Name: WebhookClientEvent, Channel: "presence-c", Event: "client-e", Data: []byte(`""`), SocketID: id, UserID: "7"},
			`{"name":"client_event","channel":"presence-c","event":"client-e","data":"","socket_id":"1.2","user_id":"7"}`},
	}
	for _, tt := range tests {
		if got := string(tt.event.Append(nil)); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

func TestWebhookBody(t *testing.T) {
	one := WebhookEvent{Name: WebhookChannelOccupied, Channel: "my-channel"}.Append(nil)
	if got, want := string(WebhookBody(1327078148132, [][]byte{one})), `{"time_ms":1327078148132,"events":[{"name":"channel_occupied","channel":"my-channel"}]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := string(WebhookBody(1, [][]byte{one, one})), `{"time_ms":1,"events":[`+string(one)+`,`+string(one)+`]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
