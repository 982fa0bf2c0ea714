/**
 * Tells zod not to try whether it may compile code from text: the page's Content-Security-Policy forbids that, and browsers
 * report the attempt. It has to be the first import of the page, since schemas look at the setting when they are made.
 */
import { config } from 'zod/mini';

config({ jitless: true });
