//! Small whole programs that use Cotter.
