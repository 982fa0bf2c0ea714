/** The page that the browser tests work in: the whole entry for browsers, as a global variable. */
import * as entry from '../../src/web.ts';

declare global {
  var linnet: typeof entry;
}
globalThis.linnet = entry;
