/** The option `--memory` of commands whose memory is known before they begin. */
import { optional } from '../framework/command.ts';
import { byteCount, called } from '../framework/option-values.ts';

export const memoryOption = optional(
  called('size', byteCount),
  'most memory to take, such as 8GiB: larger work runs layer by layer, or is refused before it starts ' +
    '(default: three quarters of the available memory)',
);
