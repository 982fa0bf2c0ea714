/**
 * Regenerates src/graph/onnx/onnx_pb.ts, the TypeScript form of the public ONNX schema.
 *
 * The schema comes from the npm package `onnx-buf`, which embeds the compiled descriptor of onnx.proto; its own code
 * uses TypeScript enums, which our settings exclude, so protoc-gen-es is run again on that descriptor.
 *
 * Usage: node scripts/generate-onnx-schema.mjs
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { protoCamelCase } from '@bufbuild/protobuf/reflect';
import { base64Decode } from '@bufbuild/protobuf/wire';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { writeProtobufModule } from './protobuf-module.mjs';

/** The version of the package follows that of ONNX: its 1.20 schema describes IR versions up to 13. */
const schemaPackage = 'onnx-buf@1.20.0-1';

/** Gives every field of a message, and of those nested in it, its default JSON name. */
function nameJson(message) {
  for (const field of message.field) field.jsonName = protoCamelCase(field.name);
  for (const nested of message.nestedType) nameJson(nested);
}

const folder = mkdtempSync(join(tmpdir(), 'onnx-schema-'));
try {
  const [packed] = JSON.parse(
    execFileSync('npm', ['pack', '--json', schemaPackage], { cwd: folder, encoding: 'utf8' }),
  );
  execFileSync('tar', ['xzf', packed.filename], { cwd: folder });
  const module = readFileSync(join(folder, 'package/dist/onnx_pb.js'), 'utf8');
  const embedded = /fileDesc\("([A-Za-z0-9+/=]+)"/.exec(module);
  if (embedded === null) throw new Error(`${schemaPackage} holds no embedded descriptor`);

  const file = fromBinary(FileDescriptorProtoSchema, base64Decode(embedded[1]));
  // The embedded form leaves out what follows from the rest; a generator needs it written.
  for (const message of file.messageType) nameJson(message);
  writeProtobufModule(
    file,
    'src/graph/onnx/onnx_pb.ts',
    '// Derived from onnx.proto of the ONNX project (Apache-2.0); made by scripts/generate-onnx-schema.mjs.',
  );
} finally {
  rmSync(folder, { recursive: true });
}
