package auth

// SignWebhook returns the X-Pusher-Signature of a webhook delivery: the digest
// of its body as sent.
func (c Credentials) SignWebhook(body []byte) string {
	var digest [digestLen]byte
	return string(c.appendDigest(digest[:0], body))
}

// VerifyWebhook checks the X-Pusher-Signature of a webhook delivery against the
// body as received. The receiver finds the Credentials by X-Pusher-Key.
//
// It returns [ErrNoSignature], [ErrKey] or [ErrSignature].
func (c Credentials) VerifyWebhook(signature string, body []byte) error {
	if err := c.usable(); err != nil {
		return err
	}
	if signature == "" {
		return refuse(ErrNoSignature, "no X-Pusher-Signature given")
	}
	if !c.signs(signature, body) {
		return refuse(ErrSignature, "invalid signature: X-Pusher-Signature is not the HMAC SHA256 hex digest of the %d byte body; "+
			"check the secret of key %s, and that the body is verified as received, before any decoding",
			len(body), clip(c.Key))
	}
	return nil
}
