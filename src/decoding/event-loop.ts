/** Lets timers, sockets and signals have their turn between two steps, which compute on the calling thread. */

/** Resolves after the events that are waiting now. */
export function eventLoopTurn(): Promise<void> {
  return new Promise((resolve) => {
    // Browsers have no setImmediate.
    if (typeof setImmediate === 'function') setImmediate(resolve);
    else setTimeout(resolve, 0);
  });
}
