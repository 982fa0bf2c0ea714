/** The method that `console.log` of Node asks for a short form; browsers do not ask. */
export const inspection: unique symbol = Symbol.for('nodejs.util.inspect.custom');
