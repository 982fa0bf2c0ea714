/**
 * ONNX Runtime of Node would write a device id and a queue of events under the user's cache folder and look up its
 * maker's host; it also crashes there on command lines of more than about 29 KB. It reads this variable once, when loaded.
 */

/** `1` and `true` mean off; the engine takes everything else, also nothing, for on. */
const variable = 'ORT_DISABLE_TELEMETRY';

/**
 * Switches it off unless the user's environment says something. Must be called before the engine is imported, and in
 * the main thread before a worker that imports it is started: a worker's writes to `process.env` stay in the worker.
 */
export function disableTelemetry(): void {
  process.env[variable] ??= '1';
}
