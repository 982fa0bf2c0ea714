/** `json.dumps(value, indent=2, ensure_ascii=False)`: the text whose SHA-256 identifies a document. */
import type { RowValue } from '../../../data/files/parquet-rows.ts';

/**
 * The text that Python writes.
 * @param floats names of float fields, whose whole numbers Python writes with `.0`
 */
export function pythonJson(value: RowValue, floats: ReadonlySet<string> = new Set()): string {
  return written(value, '', floats, false);
}

function written(value: RowValue, indent: string, floats: ReadonlySet<string>, float: boolean): string {
  if (typeof value === 'number') return float && Number.isInteger(value) ? `${value}.0` : String(value);
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const deeper = `${indent}  `;
  if (isList(value)) {
    if (value.length === 0) return '[]';
    const items = value.map((item) => deeper + written(item, deeper, floats, float));
    return `[\n${items.join(',\n')}\n${indent}]`;
  }
  const fields = Object.entries(value).map(
    ([key, item]) => `${deeper}${JSON.stringify(key)}: ${written(item, deeper, floats, floats.has(key))}`,
  );
  return fields.length === 0 ? '{}' : `{\n${fields.join(',\n')}\n${indent}}`;
}

function isList(value: RowValue): value is readonly RowValue[] {
  return Array.isArray(value);
}
