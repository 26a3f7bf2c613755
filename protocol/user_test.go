package protocol

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestParseSignin(t *testing.T) {
	want := Signin{Auth: "k:s", UserData: `{"id":"1"}`}
	for _, data := range []string{
		`{"auth":"k:s","user_data":"{\"id\":\"1\"}"}`,
		`{"auth":"k:s","user_data":"{\"id\":\"1\"}","more":1}`,
		`"{\"auth\":\"k:s\",\"user_data\":\"{\\\"id\\\":\\\"1\\\"}\"}"`,
	} {
		if got, err := ParseSignin(json.RawMessage(data)); got != want || err != nil {
			t.Errorf("%s: got %+v, %v", data, got, err)
		}
	}
	for _, data := range []string{``, `null`, `{}`, `[]`, `{"auth":"k:s"}`, `{"user_data":"x"}`, `{"auth":1,"user_data":"x"}`, `{"auth":"k:s","user_data":{"id":"1"}}`} {
		if got, err := ParseSignin(json.RawMessage(data)); err == nil {
			t.Errorf("%s: got %+v, want an error", data, got)
		}
	}
}

func TestParseIdentity(t *testing.T) {
	tests := []struct {
		userData string
		want     Identity
	}{
		{`{"id":"1"}`, Identity{UserID: "1"}},
		{`{"id":17,"name":"x"}`, Identity{UserID: "17"}},
		{`{"id":"1","user_info":{"name":"A"}}`, Identity{UserID: "1", UserInfo: json.RawMessage(`{"name":"A"}`)}},
		{`{"id":"1","watchlist":["2",3,"2","1"]}`, Identity{UserID: "1", Watchlist: []string{"2", "3", "1"}}},
		{`{"id":"1","watchlist":[]}`, Identity{UserID: "1"}},
		{`{"id":"1","watchlist":null}`, Identity{UserID: "1"}},
	}
	for _, tt := range tests {
		if got, err := ParseIdentity(tt.userData); err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %+v, %v", tt.userData, got, err)
		}
	}
	for _, userData := range []string{``, `{}`, `[]`, `"1"`, `{"id":""}`, `{"id":null}`, `{"id":true}`, `{"id":{}}`,
		`{"id":"` + strings.Repeat("x", MaxUserID+1) + `"}`, `{"id":"1","watchlist":"2"}`, `{"id":"1","watchlist":[""]}`, `{"id":"1","watchlist":[{}]}`} {
		if got, err := ParseIdentity(userData); err == nil {
			t.Errorf("%s: got %+v, want an error", userData, got)
		}
	}
}

func TestWatchlistIsCut(t *testing.T) {
	list := make([]string, MaxWatchlist+1)
	for i := range list {
		list[i] = fmt.Sprint(i)
	}
	text := func(ids []string) string {
		b, err := json.Marshal(map[string]any{"id": "x", "watchlist": ids})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	i, err := ParseIdentity(text(list))
	if err != nil || !i.WatchlistCut || !reflect.DeepEqual(i.Watchlist, list[:MaxWatchlist]) {
		t.Errorf("got %d of %d, cut %t, %v", len(i.Watchlist), len(list), i.WatchlistCut, err)
	}
	// One named twice is one.
	i, err = ParseIdentity(text(append(list[:MaxWatchlist:MaxWatchlist], list[0])))
	if err != nil || i.WatchlistCut || len(i.Watchlist) != MaxWatchlist {
		t.Errorf("got %d, cut %t, %v", len(i.Watchlist), i.WatchlistCut, err)
	}
}
