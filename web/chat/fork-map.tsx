/** A conversation's branches as a tree to walk with the pointer or the arrow keys. */
import { useRef } from 'preact/hooks';
import { layoutTree } from '../components/tree-layout.ts';
import { authorNames, type ConversationTree, shownPath, type Turn } from './conversation.ts';

export interface ForkMapProps {
  readonly conversation: ConversationTree;
  readonly onShow: (turn: number) => void;
}

const step = 34;
const radius = 9;

function nameOf({ id, author, text }: Turn): string {
  const beginning = text.trim().replace(/\s+/g, ' ').slice(0, 60);
  return `Turn ${id + 1}, ${authorNames[author]}: ${beginning === '' ? 'empty' : beginning}`;
}

export function ForkMap({ conversation, onShow }: ForkMapProps) {
  const map = useRef<SVGSVGElement>(null);
  const { turns, leaf } = conversation;
  const { depths, columns: rows, width: height } = layoutTree(turns.map(({ parent }) => parent ?? -1));
  const shown = new Set(shownPath(conversation).map(({ id }) => id));
  const x = (id: number): number => 14 + depths[id] * step;
  const y = (id: number): number => 16 + rows[id] * step;
  const width = 28 + Math.max(0, ...depths) * step;

  /** Where each key leads from a turn; undefined: nowhere. */
  const moves: Readonly<Record<string, (from: Turn) => number | undefined>> = {
    ArrowLeft: (from) => from.parent,
    ArrowRight: (from) => {
      const children = turns.filter(({ parent }) => parent === from.id);
      return (children.find(({ id }) => shown.has(id)) ?? children[0])?.id;
    },
    ArrowUp: (from) => neighbour(from, -1),
    ArrowDown: (from) => neighbour(from, 1),
    Home: () => turns[0]?.id,
    End: () => leaf,
  };
  /** The nearest turn above or below at the same depth. */
  const neighbour = (from: Turn, direction: number): number | undefined => {
    const level = turns.filter(({ id }) => depths[id] === depths[from.id]).sort((a, b) => rows[a.id] - rows[b.id]);
    return level[level.indexOf(from) + direction]?.id;
  };
  const walk = (event: KeyboardEvent, from: Turn): void => {
    if (event.key === 'Enter' || event.key === ' ') onShow(from.id);
    const to = Object.hasOwn(moves, event.key) ? moves[event.key](from) : undefined;
    if (to !== undefined) {
      const node = map.current?.querySelector(`[data-turn="${to}"]`);
      if (node instanceof SVGElement) node.focus();
    } else if (event.key !== 'Enter' && event.key !== ' ') return;
    event.preventDefault();
  };

  return (
    <svg
      ref={map}
      class="fork-map"
      role="group"
      aria-label="Branches; arrow keys walk, Enter shows"
      width={width}
      height={32 + height * step}
      viewBox={`0 0 ${width} ${32 + height * step}`}
    >
      {turns.map(({ id, parent }) =>
        parent === undefined ? null : (
          <path
            key={`edge-${id}`}
            class={shown.has(id) ? 'edge shown' : 'edge'}
            d={`M${x(parent)} ${y(parent)}C${x(parent) + step / 2} ${y(parent)} ${x(id) - step / 2} ${y(id)} ${x(id)} ${y(id)}`}
          />
        ),
      )}
      {turns.map((turn) => {
        const { id, author } = turn;
        const place = { cx: x(id), cy: y(id) };
        return (
          <g
            key={id}
            data-turn={id}
            class={`turn ${author}${shown.has(id) ? ' shown' : ''}`}
            role="button"
            tabindex={id === leaf ? 0 : -1}
            aria-label={nameOf(turn)}
            aria-current={id === leaf ? 'true' : undefined}
            onClick={() => onShow(id)}
            onKeyDown={(event) => walk(event, turn)}
          >
            <title>{nameOf(turn)}</title>
            {author === 'user' ? (
              <circle {...place} r={radius} />
            ) : (
              <rect x={x(id) - radius} y={y(id) - radius} width={2 * radius} height={2 * radius} rx={4} />
            )}
          </g>
        );
      })}
    </svg>
  );
}
