/**
 * ONNX Runtime for Node would write a device id and an event queue to the user's cache folder and look up its maker's host; it
 * also crashes there on command lines longer than about 29 KB. It reads this variable once, on loading.
 */

/** `1` and `true` mean off; the engine takes anything else, even nothing, for on. */
const variable = 'ORT_DISABLE_TELEMETRY';

/**
 * Switches telemetry off unless the user's environment sets it. Call before importing the engine, and in the main thread before
 * starting a worker that imports it: a worker's writes to `process.env` stay in the worker.
 */
export function disableTelemetry(): void {
  process.env[variable] ??= '1';
}
