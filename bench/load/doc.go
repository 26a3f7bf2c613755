// Package load is the benchmark's clients: subscribers and publishers over raw
// TCP, made to cost much less than any server that they measure.
//
// A [Loop] is one thread in epoll_wait. All connections of a loop, and all that
// they count, belong to it: other goroutines reach them through [Loop.Do] and
// [Loop.Await]. A message is read with one system call, looked at where it lies
// and forgotten. Over TLS, a loop does the handshakes of its connections one
// step at a time, as their bytes come.
//
//	Crowd       opens many subscribers, a few at a time
//	Subscriber  one client, subscribed to one channel: over WebSocket, or over
//	            the HTTP fallback in the way of pusher-js
//	Audience    the subscribers of one channel, and what they must receive
//	Tally       what subscribers of one or more audiences have received
//	Joins       join a presence channel and leave it, again and again
//	Churn       connect, subscribe, close, again and again
//	Publishers  connections to the HTTP API, kept alive or fresh for each request
//	Topic       what is published to one channel
//	Timer       when to publish
//
// Every published event carries a stamp, its number and the time, so that the
// receiver knows the latency and a lost or doubled event does not go unnoticed.
package load
