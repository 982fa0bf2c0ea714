/** A token tree across a group's edge: what each node sees, and that its output equals its path's own. */
import { useMemo, useState } from 'preact/hooks';
import { ChoiceField, Slider } from '../components/fields.tsx';
import { TokenStrip } from '../components/token-strip.tsx';
import { TokenTreeView as TreeDrawing } from '../components/token-tree.tsx';
import type { TreeRule } from '../../src/attention/masks.ts';
import { TokenTree } from '../../src/attention/tree.ts';
import { formatNumber } from '../../src/report/quantities.ts';
import {
  foldedUpTo,
  largestDifference,
  masksOf,
  pathsAlone,
  randomRows,
  ringPositions,
  treeStep,
  type TreeProblem,
} from './small-layer.ts';

const letters = ['a', 'b', 'c', 'd', 'e'];
const parents = [-1, 0, 1, 0, 3];
const filter = [0, 0, 0.5, 0.3, 0.2].reverse();
const tree = new TokenTree(parents);

const rules = {
  exact: { title: 'exact: each row by its reader’s group', rule: {} },
  forgetful: {
    title: "the paper's: the group just closed is unseen",
    rule: { seesClosedGroups: false },
  },
  flat: {
    title: 'a filter over nodes in list order',
    rule: { depth: (_, node) => node, offset: (_, node, column) => node - column },
  },
} satisfies Record<string, { title: string; rule: TreeRule }>;
type RuleName = keyof typeof rules;
const ruleTitles: Readonly<Record<RuleName, string>> = {
  exact: rules.exact.title,
  forgetful: rules.forgetful.title,
  flat: rules.flat.title,
};

export function TreeFigure() {
  const [group, setGroup] = useState(4);
  const [committed, setCommitted] = useState(6);
  const [node, setNode] = useState(2);
  const [name, setName] = useState<RuleName>('exact');
  const { rule } = rules[name];
  const problem = useMemo(
    (): TreeProblem => ({
      mixer: { group, filter },
      committed,
      parents,
      rows: randomRows(committed + parents.length, 5),
    }),
    [group, committed],
  );
  const difference = useMemo(() => largestDifference(treeStep(problem, rule), pathsAlone(problem)), [problem, rule]);
  return (
    <figure class="interactive">
      <Slider label="Positions per group, G" value={group} min={2} max={6} step={1} onValue={setGroup} />
      <Slider label="Committed positions, L" value={committed} min={2} max={12} step={1} onValue={setCommitted} />
      <ChoiceField label="Rule" value={name} choices={ruleTitles} onValue={setName} />
      <div class="scrolling" tabIndex={0} role="region" aria-label="The tree">
        <TreeDrawing tokens={letters} parents={parents} accepted={tree.pathTo(node)} />
      </div>
      <TokenStrip label="Node" tokens={letters} chosen={node} onChosen={setNode} />
      <p class="verdict" role="status">
        {sentence(problem, node, rule)}
      </p>
      <SeenTable problem={problem} node={node} rule={rule} />
      <figcaption>
        Largest difference between the outputs of all five nodes in one step and of each path read alone as ordinary
        text: <output data-difference={difference}>{formatNumber(difference, 2)}</output>, in float64.
      </figcaption>
    </figure>
  );
}

interface SeenProps {
  readonly problem: TreeProblem;
  readonly node: number;
  readonly rule: TreeRule;
}

function sentence({ mixer: { group }, committed }: TreeProblem, node: number, rule: TreeRule): string {
  const position = committed + tree.depths[node];
  const own = Math.floor(position / group);
  const closed = own > Math.floor(committed / group);
  const crossing = closed
    ? `, beyond the edge: ${rule.seesClosedGroups === false ? 'nothing covers the group before it' : 'the group before it is read row by row, since S does not hold it yet'}`
    : '';
  return `Node ${letters[node]} is at position ${position}, in group ${own}${crossing}.`;
}

/** What the node sees at each position, first of the text, then of the tree. */
function SeenTable({ problem, node, rule }: SeenProps) {
  const { committed, mixer } = problem;
  const { ring, tree: nodes } = masksOf(problem, rule);
  const held = ringPositions(problem);
  const folded = foldedUpTo(problem);
  const reach = (filter.length - 1) / 2;
  const seen = (block: typeof ring, column: number): { how: string; lag: string } => {
    const at = node * block.rows + column;
    const how = block.same[at] === 1 ? 'local' : block.earlier[at] === 1 ? 'global, as a row' : '–';
    return { how, lag: block.offsets[at] <= reach ? String(block.offsets[at]) : '–' };
  };
  const text = Array.from({ length: committed }, (_, position) => {
    const slot = held.indexOf(position);
    const found = slot < 0 ? { how: '–', lag: '–' } : seen(ring, slot);
    const how = position < folded ? 'global, in S' : found.how;
    return { name: String(position), position, how, lag: found.lag };
  });
  const drafted = letters.map((letter, column) => ({
    name: letter,
    position: committed + tree.depths[column],
    ...seen(nodes, column),
  }));
  return (
    <div class="scrolling" tabIndex={0} role="region" aria-label={`What node ${letters[node]} sees`}>
      <table class="figures">
        <thead>
          <tr>
            <th scope="col">row</th>
            <th scope="col">position</th>
            <th scope="col">group</th>
            <th scope="col">seen by {letters[node]}</th>
            <th scope="col">convolution lag</th>
          </tr>
        </thead>
        <tbody>
          {[...text, ...drafted].map(({ name, position, how, lag }) => (
            <tr key={name} class={how === '–' && lag === '–' ? 'muted' : undefined}>
              <th scope="row">{name}</th>
              <td class="number">{position}</td>
              <td class="number">{Math.floor(position / mixer.group)}</td>
              <td>{how}</td>
              <td class="number">{lag}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
