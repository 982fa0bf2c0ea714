/** The method that Node's `console.log` calls for a short form; browsers do not call it. */
export const inspection: unique symbol = Symbol.for('nodejs.util.inspect.custom');
