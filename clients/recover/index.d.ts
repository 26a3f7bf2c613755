/** Recovers what a pusher-js client misses. A second call with the same client does nothing. */
export function recover(pusher: object): void;

declare global {
  var belfryRecover: typeof recover;
}
