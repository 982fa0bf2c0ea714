/** Turns of the event loop between steps. */

/** Resolves after the events that are waiting now: steps, which compute on the calling thread, let others have their turn. */
export function eventLoopTurn(): Promise<void> {
  return new Promise((resolve) => {
    // Browsers have no setImmediate.
    if (typeof setImmediate === 'function') setImmediate(resolve);
    else setTimeout(resolve, 0);
  });
}
