/** The page that the browser tests work in: the whole entry for browsers, as a global variable. */
import * as linnet from '../../src/web.ts';

declare global {
  var linnet: typeof import('../../src/web.ts');
}
globalThis.linnet = linnet;
