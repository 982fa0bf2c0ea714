/** A drafted tree of tokens: what was guessed, the path the model accepted, and the token it added. */
import { layoutTree } from './tree-layout.ts';
import { visibleToken } from './tokens.ts';

/** Where guesses come from, and the colour that stands for it. */
export interface SourceTitle {
  readonly title: string;
  readonly series: number;
}

export interface TokenTreeProps {
  /** Texts of the nodes; the first is the root, the last token of the text before. */
  readonly tokens: readonly string[];
  /** Parents of the nodes, -1 for the root. */
  readonly parents: readonly number[];
  /** Nodes of the accepted path, from the root. */
  readonly accepted: readonly number[];
  /** The token that the model said after the path. */
  readonly next?: string;
  /** Where the guess of each node comes from. */
  readonly sources?: readonly (SourceTitle | undefined)[];
}

const rowHeight = 26;
const boxHeight = 20;
const gap = 22;
const characterWidth = 7.3;

const boxWidth = (label: string): number => Math.max(18, [...label].length * characterWidth + 10);

/** Alternative text in one sentence. */
function describeTokenTree({ tokens, accepted, next }: TokenTreeProps): string {
  const path = accepted.slice(1).map((node) => tokens[node]);
  const drafted = tokens.length - 1;
  return (
    `${drafted} ${drafted === 1 ? 'token' : 'tokens'} guessed after “${tokens[0] ?? ''}”, ${path.length} accepted` +
    `${path.length > 0 ? `: “${path.join('')}”` : ''}${next === undefined ? '' : `, then “${next}”`}`
  );
}

export function TokenTreeView(props: TokenTreeProps) {
  const { tokens, parents, accepted, next, sources = [] } = props;
  // The token after the path is a separate node below its last node.
  const last = accepted[accepted.length - 1] ?? 0;
  const shownTokens = (next === undefined ? tokens : [...tokens, next]).map(visibleToken);
  const shownParents = next === undefined ? parents : [...parents, last];
  const { depths, columns: rows, width: lowest } = layoutTree(shownParents);
  const height = lowest + 1;
  const columns: number[] = [];
  for (const [node, depth] of depths.entries()) {
    columns[depth] = Math.max(columns[depth] ?? 0, boxWidth(shownTokens[node]));
  }
  const lefts = columns.map((_, depth) => 1 + columns.slice(0, depth).reduce((sum, width) => sum + width + gap, 0));
  const width = columns.reduce((sum, column) => sum + column + gap, 2 - gap);
  const path = new Set(accepted);
  const middle = (node: number): number => 1 + (rows[node] + 0.5) * rowHeight;
  const kind = (node: number): string => {
    if (node === tokens.length) return 'next';
    return path.has(node) ? 'accepted' : 'rejected';
  };
  return (
    <svg
      class="token-tree"
      role="img"
      aria-label={describeTokenTree(props)}
      width={width}
      height={height * rowHeight + 2}
      viewBox={`0 0 ${width} ${height * rowHeight + 2}`}
    >
      {shownParents.map((parent, node) => {
        if (depths[node] === 0) return null;
        const from = lefts[depths[parent]] + boxWidth(shownTokens[parent]);
        const to = lefts[depths[node]];
        const bend = to - gap / 2;
        return (
          <path
            key={`edge-${node}`}
            class={`edge ${kind(node)}`}
            d={`M${from} ${middle(parent)}H${bend - 4}Q${bend} ${middle(parent)} ${bend} ${(middle(parent) + middle(node)) / 2}T${to} ${middle(node)}`}
          />
        );
      })}
      {shownTokens.map((label, node) => (
        <g key={node} class={`node ${kind(node)}`}>
          <rect
            x={lefts[depths[node]]}
            y={middle(node) - boxHeight / 2}
            width={boxWidth(label)}
            height={boxHeight}
            rx={5}
          />
          <text x={lefts[depths[node]] + boxWidth(label) / 2} y={middle(node) + 4}>
            {label}
          </text>
          {depths[node] > 0 && sources[node] !== undefined && (
            <>
              <title>{sources[node].title}</title>
              <rect
                class={`source series-${sources[node].series}`}
                x={lefts[depths[node]] + 4}
                y={middle(node) + boxHeight / 2 - 3}
                width={boxWidth(label) - 8}
                height={2.5}
              />
            </>
          )}
        </g>
      ))}
    </svg>
  );
}
