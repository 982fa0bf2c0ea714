/** Names that a haystack does not hold: an adjective and a noun, as in "quiet-anchor". 4,096 of them. */
import type { Random } from '../../random.ts';

const adjectives =
  'amber bitter bold brave brisk calm candid clever cold copper crimson curly dapper dim dusty eager early faint fierce ' +
  'fleet fond frosty gentle giddy glad golden grand hasty hollow humble icy ivory jolly keen late lively loud lucky mellow ' +
  'merry misty modest narrow neat noble odd pale patient plain proud quick quiet rapid rosy royal rugged salty shy silent ' +
  'silver sleepy slender smooth solid';

const nouns =
  'acorn anchor apron arrow badger barrel basket beacon bell bottle bridge bucket button candle carpet castle cellar chimney ' +
  'clover comet copse cradle desk dolphin donkey drum engine falcon feather fiddle fountain garden gate glacier hammer harbor ' +
  'helmet island jacket kettle ladder lantern lemon magnet mirror mitten needle orchard oven paddle parrot pebble pillow ' +
  'plough pocket quilt rabbit ribbon river saddle teapot tunnel violin walnut';

const pairs: readonly (readonly string[])[] = [adjectives.split(' '), nouns.split(' ')];

/** A name as its pair of words. */
export function drawName(random: Random): string {
  return pairs.map((words) => words[random.integer(words.length)]).join('-');
}

/** A number of seven digits. */
export function drawNumber(random: Random): string {
  return String(1_000_000 + random.integer(9_000_000));
}

/** A number of five digits, the value of a variable. */
export function drawShortNumber(random: Random): string {
  return String(10_000 + random.integer(90_000));
}

/** Five capital letters, the name of a variable. */
export function drawVariable(random: Random): string {
  return Array.from({ length: 5 }, () => String.fromCharCode(65 + random.integer(26))).join('');
}

/** A sample of `draw` without replacement: none equal to another or to a taken one; it is added to the taken. */
export function drawDistinct(count: number, taken: Set<string>, draw: () => string): string[] {
  const drawn: string[] = [];
  while (drawn.length < count) {
    const next = draw();
    if (taken.has(next)) continue;
    taken.add(next);
    drawn.push(next);
  }
  return drawn;
}
