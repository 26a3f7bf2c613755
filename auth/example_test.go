package auth_test

import (
	"errors"
	"fmt"
	"time"

	"belfry/auth"
)

var app = auth.Credentials{Key: "278d425bdf160c739803", Secret: "7ad3773142a6692b25b8"}

// An application's auth endpoint answers with the token, the client sends it
// with its subscription, and the server verifies it.
func ExampleCredentials_SignChannel() {
	token := app.SignChannel("1234.1234", "private-foobar", "")
	fmt.Println(token)
	fmt.Println(app.VerifyChannel(token, "1234.1234", "private-foobar", ""))
	// Output:
	// 278d425bdf160c739803:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4
	// <nil>
}

// A backend publishes an event.
func ExampleCredentials_SignRequest() {
	body := []byte(`{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}`)
	query := app.SignRequest("POST", "/apps/3/events", nil, body, time.Unix(1353088179, 0))
	fmt.Println("/apps/3/events?" + query.Encode())
	// Output:
	// /apps/3/events?auth_key=278d425bdf160c739803&auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c&auth_timestamp=1353088179&auth_version=1.0&body_md5=ec365a775a4cd0599faeb73354201b6f
}

// A refusal says what to change and can be told apart by its kind.
func ExampleCredentials_VerifyRequest() {
	signedAt := time.Unix(1353088179, 0)
	r := auth.Request{
		Method: "GET",
		Paths:  []string{"/apps/3/channels"},
		Query:  app.SignRequest("GET", "/apps/3/channels", nil, nil, signedAt),
	}
	fmt.Println(app.VerifyRequest(r, signedAt.Add(time.Minute)))
	err := app.VerifyRequest(r, signedAt.Add(time.Hour))
	fmt.Println(errors.Is(err, auth.ErrTimestamp))
	fmt.Println(err)
	// Output:
	// <nil>
	// true
	// Timestamp expired: Given timestamp (2012-11-16T17:49:39Z) not within 600s of server time (2012-11-16T18:49:39Z): set the clock of whichever is wrong
}
