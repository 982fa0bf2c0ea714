/** The TypeScript form of protocol buffer messages, by protoc-gen-es with the settings of this project. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { CodeGeneratorRequestSchema, CodeGeneratorResponseSchema } from '@bufbuild/protobuf/wkt';

const generator = fileURLToPath(new URL('../node_modules/@bufbuild/protoc-gen-es/bin/protoc-gen-es', import.meta.url));

/**
 * Writes the module of a described file.
 * @param file a FileDescriptorProto
 * @param path of the module, from the root of the project
 * @param notice its first line
 */
export function writeProtobufModule(file, path, notice) {
  const request = create(CodeGeneratorRequestSchema, {
    fileToGenerate: [file.name],
    parameter: 'target=ts,erasable_syntax=true',
    protoFile: [file],
  });
  const output = execFileSync('node', [generator], { input: toBinary(CodeGeneratorRequestSchema, request) });
  const response = fromBinary(CodeGeneratorResponseSchema, output);
  if (response.error) throw new Error(response.error);
  if (response.file.length !== 1) throw new Error(`expected one generated file, got ${response.file.length}`);
  const target = fileURLToPath(new URL(`../${path}`, import.meta.url));
  writeFileSync(target, `${notice}\n${response.file[0].content}`);
  console.log(`${target} written`);
}
