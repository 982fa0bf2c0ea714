/** Links of the Markdown pages: every file, figure and heading that a page points to exists. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));

const pages = [
  ...['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md'].filter((page) => existsSync(join(root, page))),
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((page) => page.endsWith('.md'))
    .map((page) => `docs/${page}`),
];

it('of services start the executable: npx may end on SIGTERM and leave the server behind', () => {
  const files = [...pages, 'deploy/compose.yaml', 'deploy/Dockerfile', 'deploy/kubernetes/server.yaml'];
  const started = files.filter((file) =>
    /npx linnet (serve|work)\b.*&$|"npx"/m.test(readFileSync(join(root, file), 'utf8')),
  );
  expect(started).toEqual([]);
});

it("of the choice of a mixer quote the README's numbers", () => {
  const [readme, choice] = ['README.md', 'docs/choose-a-mixer.md'].map((page) =>
    readFileSync(join(root, page), 'utf8'),
  );
  const measured = /^perplexity ([\d.]+) → ([\d.]+)/m
    .exec(readme)
    ?.slice(1)
    .map((text) => Number(text).toFixed(2));
  expect(/the README's model goes from ([\d.]+) to ([\d.]+)/.exec(choice)?.slice(1)).toEqual(measured);
});

/** The anchor that GitHub gives a heading. */
function anchorOf(heading: string): string {
  const text = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').replace(/[`*]/g, '');
  return text
    .toLowerCase()
    .trim()
    .replace(/[^\p{L}\p{N}_\- ]/gu, '')
    .replaceAll(' ', '-');
}

/** A page without its blocks of code. */
function proseOf(page: string): string {
  return readFileSync(join(root, page), 'utf8').replace(/^```[^]*?^```/gm, '');
}

function anchors(page: string): Set<string> {
  return new Set(Array.from(proseOf(page).matchAll(/^#+ (.*)$/gm), ([, heading]) => anchorOf(heading)));
}

/** The links of a page that lead nowhere. */
function broken(page: string): string[] {
  const links = Array.from(proseOf(page).matchAll(/\]\(([^)\s]+)\)/g), ([, link]) => link);
  return links.filter((link) => {
    if (/^[a-z]+:/.test(link)) return false;
    const [file, anchor] = link.split('#');
    const target = file === '' ? page : normalize(join(dirname(page), file));
    if (!existsSync(join(root, target))) return true;
    return anchor !== undefined && target.endsWith('.md') && !anchors(target).has(anchor);
  });
}

describe('links', () => {
  it.each(pages)('of %s lead somewhere', (page) => {
    expect(broken(page)).toEqual([]);
  });
});
