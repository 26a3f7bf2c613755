package protocol

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Member is a user on a presence channel.
type Member struct {
	UserID string
	// UserInfo is the JSON text the application gave, nil for none.
	UserInfo []byte
}

// ParseMember reads the channel_data of a presence subscription:
// {"user_id": string or number, "user_info": any JSON, optional}. maxInfo
// bounds the bytes of user_info.
func ParseMember(channelData string, maxInfo int) (Member, error) {
	var d struct {
		UserID   jsontext.Value `json:"user_id"`
		UserInfo jsontext.Value `json:"user_info"`
	}
	if err := ReadJSON([]byte(channelData), &d); err != nil {
		return Member{}, fmt.Errorf("channel_data is not a JSON object with a user_id: %w", err)
	}
	id, err := parseUserID(d.UserID)
	if err != nil {
		return Member{}, fmt.Errorf("channel_data: %w", err)
	}
	m := Member{UserID: id, UserInfo: d.UserInfo}
	return m, m.Check(maxInfo)
}

// Check returns what is wrong with the member: user_info of more than maxInfo
// bytes.
func (m Member) Check(maxInfo int) error {
	if n := len(m.UserInfo); n > maxInfo {
		return fmt.Errorf("user_info is %d bytes, more than max_presence_user_bytes %d", n, maxInfo)
	}
	return nil
}

// parseUserID makes a string of a user id, which applications send as a
// string or, when it is a database key, as a number.
func parseUserID(raw jsontext.Value) (string, error) {
	var id string
	switch raw.Kind() {
	case jsontext.KindInvalid, jsontext.KindNull:
		return "", errors.New("user id is missing")
	case jsontext.KindString:
		if err := ReadJSON(raw, &id); err != nil {
			return "", fmt.Errorf("user id is not a valid string: %w", err)
		}
	case jsontext.KindNumber:
		id = string(raw)
	default:
		return "", fmt.Errorf("user id must be a string or a number, not %s", kindName(raw.Kind()))
	}
	return id, checkUserID(id)
}

func checkUserID(id string) error {
	if id == "" {
		return errors.New("user id is empty")
	}
	if n := utf8.RuneCountInString(id); n > MaxUserID {
		return fmt.Errorf("user id is %d characters long, more than %d", n, MaxUserID)
	}
	return nil
}
