// Points: n points with colours and marks, drawn with WebGL 2.
// A place is two 16-bit integers; the square of the map is in the middle of their range.

const VERTEX = `#version 300 es
in vec2 before, place; in vec4 colour; in float mark;
uniform vec2 centre, scale; uniform float size, pass, way; uniform vec3 grey;
out vec4 ink;
void main() {
  vec2 at = (mix(before, place, way) - centre) * scale;
  gl_Position = abs(mark - pass) > 0.5 ? vec4(2.0, 2.0, 0.0, 1.0) : vec4(at, 0.0, 1.0);
  gl_PointSize = size * (pass > 1.5 ? 1.3 : 1.0);
  float alpha = pass < 0.5 ? 0.22 : 0.88;
  ink = vec4((pass < 0.5 ? grey : colour.rgb) * alpha, alpha);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec4 ink; uniform float size; out vec4 result;
void main() {
  float far = length(gl_PointCoord - 0.5) * 2.0;
  result = ink * (1.0 - smoothstep(1.0 - 2.0 / max(size, 2.0), 1.0, far));
}`;
const REST = 0;
const SHOWN = 1;
const CHOSEN = 2;
// The most points to draw while the map moves; all are drawn when it rests.
const SMOOTH = 150000;

class Points {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.gl = canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true });
    this.canvas = canvas;
    if (this.gl) this.prepare();
  }

  prepare() {
    const { gl } = this;
    const program = gl.createProgram();
    /** @type {[kind: number, text: string][]} */
    const shaders = [
      [gl.VERTEX_SHADER, VERTEX],
      [gl.FRAGMENT_SHADER, FRAGMENT],
    ];
    for (const [kind, text] of shaders) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    this.slots = {};
    for (const name of ["before", "place", "colour", "mark"]) {
      this.slots[name] = gl.getAttribLocation(program, name);
      gl.enableVertexAttribArray(this.slots[name]);
    }
    this.uniforms = {};
    for (const name of ["centre", "scale", "size", "pass", "way", "grey"]) {
      this.uniforms[name] = gl.getUniformLocation(program, name);
    }
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    this.buffers = {};
  }

  upload(name, array) {
    const { gl } = this;
    this.buffers[name] ??= gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
    gl.bufferData(gl.ARRAY_BUFFER, array, gl.DYNAMIC_DRAW);
  }

  // Places (2 n), and the previous ones if the move is animated.
  move(place, before) {
    this.count = place.length / 2;
    this.upload("place", place);
    this.upload("before", before ?? place);
  }

  paint(colours) {
    this.upload("colour", colours);
  }

  mark(marks) {
    this.upload("mark", marks);
    this.passes = [REST, SHOWN, CHOSEN].filter((one) => marks.includes(one));
  }

  point(name, width, kind, bytes, normalised, every) {
    const { gl } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name]);
    gl.vertexAttribPointer(this.slots[name], width, kind, normalised, every * bytes, 0);
  }

  // centre: [x, y]; scale: clip units per unit of place; grey: 0-1 each; way: share of the animation, 0-1.
  draw({ centre, scale, size, grey, way, moving }) {
    const { gl, uniforms } = this;
    const every = moving ? Math.max(1, Math.ceil(this.count / SMOOTH)) : 1;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    this.point("place", 2, gl.UNSIGNED_SHORT, 4, false, every);
    this.point("before", 2, gl.UNSIGNED_SHORT, 4, false, every);
    this.point("colour", 4, gl.UNSIGNED_BYTE, 4, true, every);
    this.point("mark", 1, gl.UNSIGNED_BYTE, 1, false, every);
    gl.uniform2fv(uniforms.centre, centre);
    gl.uniform2fv(uniforms.scale, scale);
    gl.uniform1f(uniforms.size, size);
    gl.uniform1f(uniforms.way, way);
    gl.uniform3fv(uniforms.grey, grey);
    for (const pass of this.passes) {
      gl.uniform1f(uniforms.pass, pass);
      gl.drawArrays(gl.POINTS, 0, Math.floor(this.count / every));
    }
  }
}
