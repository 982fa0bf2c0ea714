import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LinnetError } from '../errors.ts';
import { parseExportManifest } from './export-manifest.ts';

const sha256 = 'a'.repeat(64);
const manifest = {
  version: 1,
  dtype: 'float32',
  device: 'cpu',
  files: { 'model.onnx': { bytes: 10, sha256 }, 'fold-0.onnx': { bytes: 3, sha256 } },
  folds: { 'unit keys': 'fold-0.onnx' },
};
const parse = (value: unknown) => parseExportManifest(new TextEncoder().encode(JSON.stringify(value)), 'linnet.json');
const code = (value: unknown): string => {
  try {
    parse(value);
  } catch (error) {
    if (error instanceof LinnetError) return error.code;
    throw error;
  }
  return 'none';
};

describe('parseExportManifest', () => {
  it('reads what export writes, and ignores what it does not know', () => {
    expect(parse({ ...manifest, createdBy: 'linnet 9' })).toEqual(manifest);
  });

  it.each([
    ['another version', { ...manifest, version: 2 }, 'FORMAT'],
    ['no files', { ...manifest, files: undefined }, 'FORMAT'],
    ['a negative size', { ...manifest, files: { a: { bytes: -1, sha256 } }, folds: {} }, 'FORMAT'],
    ['a size that is no integer', { ...manifest, files: { a: { bytes: 1e30, sha256 } }, folds: {} }, 'FORMAT'],
    ['a short checksum', { ...manifest, files: { a: { bytes: 1, sha256: 'abc' } }, folds: {} }, 'FORMAT'],
    ['a fold in a file that is not listed', { ...manifest, folds: { x: 'other.onnx' } }, 'FORMAT'],
    ['a name that climbs out', { ...manifest, files: { '../secret': { bytes: 1, sha256 } }, folds: {} }, 'PATH'],
    ['a URL as a name', { ...manifest, files: { 'https://a.b': { bytes: 1, sha256 } }, folds: {} }, 'PATH'],
  ])('refuses %s', (_, value, expected) => {
    expect(code(value)).toBe(expected);
  });

  it('gives a typed error or a manifest for any JSON and any bytes', () => {
    fc.assert(fc.property(fc.jsonValue(), (value) => ['none', 'FORMAT', 'PATH'].includes(code(value))));
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        try {
          parseExportManifest(bytes, 'bytes');
        } catch (error) {
          expect(error).toBeInstanceOf(LinnetError);
        }
      }),
    );
  });
});
