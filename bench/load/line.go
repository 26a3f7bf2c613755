package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// appendPost appends a request of a browser's page for the HTTP fallback.
// Belfry keeps it in memory as long as it is under way, so that it has the
// fields that Chromium sends.
func appendPost(b []byte, host, path string, body []byte) []byte {
	b = append(b, "POST "+path+" HTTP/1.1\r\nHost: "+host+"\r\n"+
		"Connection: keep-alive\r\n"+
		"Content-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\n"+
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n"+
		"Content-Type: application/json\r\n"+
		"Accept: */*\r\n"+
		"Origin: https://www.example.com\r\n"+
		"Sec-Fetch-Site: cross-site\r\n"+
		"Sec-Fetch-Mode: cors\r\n"+
		"Sec-Fetch-Dest: empty\r\n"+
		"Referer: https://www.example.com/\r\n"+
		"Accept-Encoding: gzip, deflate, br, zstd\r\n"+
		"Accept-Language: en-GB,en;q=0.9\r\n\r\n"...)
	return append(b, body...)
}

// messageList is the body of a request that sends these messages.
func messageList(messages [][]byte) []byte {
	b := []byte{'['}
	for i, m := range messages {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, escape(m)...)
		b = append(b, '"')
	}
	return append(b, ']')
}

// escape is a message as it stands within a JSON string.
func escape(message []byte) []byte {
	text, _ := json.Marshal(string(message)) // no string is an error
	return text[1 : len(text)-1]
}

// onlyText is what is between the quotes of a list of one string, still
// escaped. Of a longer list, it is the strings and what is between them.
func onlyText(list []byte) (text []byte, ok bool) {
	text, ok = bytes.CutPrefix(list, []byte(`["`))
	if !ok {
		return nil, false
	}
	return bytes.CutSuffix(text, []byte(`"]`))
}

// closedByLine reads [code,"reason"].
func closedByLine(list []byte) error {
	e := &ClosedError{}
	if err := json.Unmarshal(list, &[]any{&e.Code, &e.Reason}); err != nil {
		return fmt.Errorf("not a code and a reason: %s", clip(list))
	}
	return e
}
