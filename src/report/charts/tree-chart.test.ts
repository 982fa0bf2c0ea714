import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { chain, TokenTree, treeFromPaths } from '../../attention/tree.ts';
import type { Chart } from './chart-renderer.ts';
import { shareStyle } from './chart-style.ts';
import { mostDrawnNodes, treeChart } from './tree-chart.ts';
import { layoutTree } from './tree-layout.ts';

/** Random forests of up to 40 nodes. */
const forests = fc
  .array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), { minLength: 1, maxLength: 40 })
  .map((draws) => new TokenTree(draws.map((draw, node) => Math.floor(draw * (node + 1)) - 1)));

const small = treeFromPaths([[0], [1], [0, 0], [0, 1]]).tree;

function elements(chart: Chart, tag: string): string[] {
  return chart.svg.match(new RegExp(`<${tag}[ >][^>]*>`, 'g')) ?? [];
}

function texts(chart: Chart): string[] {
  return [...chart.svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, text]) => text);
}

/** Relative luminance of WCAG 2.2. */
function luminance(colour: string): number {
  const [red, green, blue] = [1, 3, 5].map((at) => {
    const value = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

describe('layoutTree', () => {
  it('keeps nodes of one depth apart and in order, and parents over the middle of their children', () => {
    fc.assert(
      fc.property(forests, (tree) => {
        const { columns, width } = layoutTree(tree.parents);
        expect(Math.min(...columns)).toBeCloseTo(0);
        expect(Math.max(...columns)).toBeCloseTo(width);
        for (let depth = 0; depth <= tree.height; depth++) {
          const row = [...columns.keys()].filter((node) => tree.depths[node] === depth).map((node) => columns[node]);
          const sorted = row.sort((a, b) => a - b);
          for (let at = 1; at < sorted.length; at++) expect(sorted[at] - sorted[at - 1]).toBeGreaterThan(1 - 1e-9);
        }
        for (let node = 0; node < tree.size; node++) {
          const children = [...columns.keys()].filter((child) => tree.parents[child] === node);
          const places = children.map((child) => columns[child]);
          expect(places).toEqual([...places].sort((a, b) => a - b));
          if (places.length > 0) expect((places[0] + places[places.length - 1]) / 2).toBeCloseTo(columns[node]);
        }
      }),
      { seed: 11 },
    );
  });

  it('is compact: a chain takes one column, and deep subtrees share columns with shallow ones', () => {
    expect(layoutTree(chain(5).parents).width).toBe(0);
    expect(layoutTree(Array.from({ length: 20_000 }, (_, node) => node - 1)).width).toBe(0);
    expect([...layoutTree(small.parents).columns]).toEqual([0.5, 0, 1, -0.5, 0.5].map((column) => column + 0.5));
  });
});

describe('layoutTree of what a server sends', () => {
  it('counts depths, and takes a parent that comes later for none', () => {
    expect(layoutTree([-1, 0, 0, 1, 2, 2]).depths).toEqual([0, 1, 1, 2, 2, 2]);
    expect(layoutTree([-1, 5, Number.NaN]).depths).toEqual([0, 0, 0]);
  });
});

describe('treeChart', () => {
  const acceptance = [1, 0.5, 0, 0.25, Number.NaN];

  it('draws every node in the colour of its acceptance, every edge, and a legend', () => {
    const chart = treeChart({ title: 'Tree', tree: small, acceptance });
    const circles = elements(chart, 'circle');
    expect(circles).toHaveLength(small.size);
    for (const [node, share] of acceptance.entries()) {
      expect(circles[node]).toContain(`fill="${shareStyle(share).fill}"`);
      expect(circles[node].includes('dasharray')).toBe(Number.isNaN(share));
    }
    expect(elements(chart, 'path')).toHaveLength(small.size - 1);
    expect(texts(chart)).toEqual(['Tree', 'accepted   0 %', '100 %', '100', '50', '0', '25', '–']);
    expect(chart.svg).toMatch(/^<svg role="img" aria-label="Tree: 5 nodes, 2 levels below the root" width="720" /);
    expect(chart.svgFile()).toMatch(/<rect width="720" height="\d+" fill="#fff"/);
  });

  it('takes ranks as labels, and says the share in the tooltip', () => {
    const chart = treeChart({ tree: small, acceptance, labels: ['', '0', '1', '0', '1'] });
    expect(texts(chart).slice(2)).toEqual(['0', '1', '0', '1']);
    expect(chart.svg).toContain('<title>node 1 (0), depth 1: accepted 50.0 %</title>');
  });

  it('stays inside its frame for wide and deep trees', () => {
    const wide = new TokenTree([-1, ...Array.from({ length: 99 }, () => 0)]);
    for (const tree of [wide, chain(30), small]) {
      const chart = treeChart({ tree, acceptance: new Float64Array(tree.size) });
      for (const circle of elements(chart, 'circle')) {
        const [x, y, r] = ['cx', 'cy', 'r'].map((name) => Number(new RegExp(` ${name}="([^"]*)"`).exec(circle)?.[1]));
        expect(x - r).toBeGreaterThanOrEqual(0);
        expect(x + r).toBeLessThanOrEqual(chart.frame.width);
        expect(y - r).toBeGreaterThanOrEqual(0);
        expect(y + r).toBeLessThanOrEqual(chart.frame.height);
      }
    }
  });

  it('lets no text become markup, and refers to nothing outside', () => {
    const hostile = `</text></svg><script>alert("1")</script>&'\u0000`;
    const labels = Array.from({ length: small.size }, () => hostile);
    const chart = treeChart({ title: hostile, description: hostile, legend: hostile, tree: small, acceptance, labels });
    const tags = new Set([...chart.svg.matchAll(/<([^\s>/]+)/g)].map(([, tag]) => tag));
    expect([...tags].sort()).toEqual(['circle', 'g', 'path', 'rect', 'svg', 'text', 'title']);
    expect(chart.svg.match(/<\/svg>/g)).toHaveLength(1);
    expect(chart.svg).not.toContain('\u0000');
    expect(chart.svg.match(/https?:[^"]*/g)).toEqual(['http://www.w3.org/2000/svg']);
  });

  it.each([
    ['too few acceptances', { tree: small, acceptance: [1] }, /1 acceptances for 5 nodes/],
    ['too few labels', { tree: small, acceptance, labels: ['a'] }, /1 labels for 5 nodes/],
    ['a share above 1', { tree: chain(1), acceptance: [1.5] }, /acceptance of node 0 is 1.5/],
    [
      'a tree that nobody could read',
      { tree: chain(mostDrawnNodes + 1), acceptance: new Float64Array(mostDrawnNodes + 1) },
      /at most 512/,
    ],
  ])('refuses %s', (_, picture, message) => {
    expect(() => treeChart(picture)).toThrow(message);
  });
});

describe('shareStyle', () => {
  it('darkens all the way, and its ink is readable on every colour', () => {
    let last = Number.POSITIVE_INFINITY;
    for (let percent = 0; percent <= 100; percent++) {
      const { fill, ink } = shareStyle(percent / 100);
      const own = luminance(fill);
      expect(own).toBeLessThan(last);
      last = own;
      const [dark, light] = [own, luminance(ink)].sort((a, b) => a - b);
      expect((light + 0.05) / (dark + 0.05)).toBeGreaterThan(4.5);
    }
  });
});
