"""What people look at: figures and the pieces of the report. Imported by the stages that draw, never by the others."""
