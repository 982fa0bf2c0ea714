/**
 * Stops zod from testing whether it may compile code from text: the page's Content-Security-Policy forbids that, and browsers
 * report the attempt. Must be the page's first import, because schemas read the setting when they are made.
 */
import { config } from 'zod/mini';

config({ jitless: true });
