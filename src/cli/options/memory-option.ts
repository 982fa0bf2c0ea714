/** The options `--memory`, of commands whose memory is known before they begin, and `--window-memory`. */
import { optional } from '../framework/command.ts';
import { byteCount, called, choice, type ValueKind } from '../framework/option-values.ts';

const limit = (kind: ValueKind<number>) =>
  optional(
    called('size', kind),
    'memory limit, such as 8GiB: larger work runs layer by layer, or is refused before it starts ' +
      '(default: three quarters of the available memory)',
  );

export const memoryOption = limit(byteCount);

/** `memory` and `windowMemory` of commands that make windows; `windowMemory` is `memory` of the library. */
export const windowMemoryOptions = <Name extends string>(names: readonly Name[]) => ({
  windowMemory: optional(
    choice(names),
    `what remembers the tokens that have left the window: ${names.join(', ')} (default: learned)`,
  ),
  memory: limit({ ...byteCount, expects: `${byteCount.expects}; the memory of a window is --window-memory` }),
});
